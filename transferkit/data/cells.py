"""The cells of CSV, TSV, parquet and list files as text, each row with its place. No NumPy."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transferkit.errors import InputError

TABULATED = (".tsv", ".tab")


@dataclass
class Cells:
    """A header, and rows of cells with the places that messages name: `line 7`."""

    header: list[str]
    rows: Iterator[tuple[str, list[str]]]


def in_text(file: str) -> Cells:
    """A CSV or TSV with a header; blank lines are passed over. Raises InputError, later where a row cannot be read.

    What separates fields follows from the ending, or from the header where that has semicolons and no comma.
    """
    text = _text(file)
    first = text.partition("\n")[0]
    separator = "\t" if file.lower().endswith(TABULATED) else ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = _numbered(file, reader)
    _, header = next(rows, ("", []))
    if not header:
        raise InputError(f"{file} is empty: a header with the names of columns is needed")
    return Cells(header, rows)


def in_list(file: str) -> Iterator[tuple[str, list[str]]]:
    """(place, path and label) of every line of a list file; a line with fewer parts is as it is. Raises InputError."""
    name = Path(file).name
    for number, line in enumerate(_text(file).splitlines(), start=1):
        if line.strip():
            parts = line.split("\t") if "\t" in line else line.strip().rsplit(None, 1)
            yield f"{name}:{number}", [part.strip() for part in parts]


def in_parquet(file: str) -> Cells:
    """A parquet file, of which cells are texts, whole numbers or numbers. Raises InputError."""
    try:
        from pyarrow import ArrowException, parquet, types
    except ImportError:
        raise InputError(
            f'to read {file}, install pyarrow: pip install "transferkit[parquet]"; or save it as .csv'
        ) from None
    try:
        table = parquet.read_table(file)
    except (ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read as parquet: {str(error).splitlines()[0]}") from None
    plain = [
        one.name
        for one in table.schema
        if types.is_string(one.type) or types.is_large_string(one.type) or types.is_primitive(one.type)
        or types.is_dictionary(one.type)
    ]  # fmt: skip
    columns = [table.column(name).to_pylist() for name in plain]

    def rows() -> Iterator[tuple[str, list[str]]]:
        for number, values in enumerate(zip(*columns, strict=True), start=1):
            yield f"row {number}", ["" if value is None else str(value) for value in values]

    return Cells(plain, rows())


def _text(file: str) -> str:
    """The text of a file in UTF-8. Raises InputError, naming the line of the first byte that is none."""
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the table {file}: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{file}:{line}: there is a byte that is no UTF-8 (0x{data[error.start]:02x}); save it as UTF-8"
        ) from None


def _numbered(file: str, reader: csv._reader) -> Iterator[tuple[str, list[str]]]:  # type: ignore[name-defined]
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{file}:{reader.line_num}: {error}") from None
        if any(cell.strip() for cell in row):
            yield f"line {reader.line_num}", row
