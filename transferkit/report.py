"""What an analyzer returns: numbers, tables and pictures, as data."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.atomic import write_bytes, write_text
from transferkit.text import encodable, printable, printable_json

EXECUTED = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


@dataclass
class Table:
    """Named columns and rows of plain values. A `folded` table is shown closed: long ones, one row per class."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    folded: bool = False


@dataclass
class Report:
    """The findings of one analysis.

    metrics   name -> number; NaN for what could not be measured
    tables    name -> Table; the name becomes a file name
    figures   file names inside the analysis folder; those called gallery-* are shown as one gallery
    verdict   one to three sentences with the numbers that carry them, for a reader who knows no paper
    notes     small print beside the numbers: counts, thresholds, seeds, chance levels, intervals
    gaps      what could not be measured, and why
    captions  figure file -> what it shows
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Sequence[str] = ()
    verdict: str | None = None
    notes: Sequence[str] = ()
    gaps: Sequence[str] = ()
    captions: Mapping[str, str] = field(default_factory=dict)

    def write(
        self,
        folder: Path,
        *,
        name: str,
        plugin: str,
        version: str,
        parameters: Mapping[str, Any],
        inputs: Mapping[str, str] | None = None,
    ) -> Path:
        """Write one CSV per table and then report.json into the folder; return the path of report.json.

        `inputs` are the hashes of what it was made from.

        Raises TypeError for one text where a list is due, ValueError for a table name that is no file name.
        """
        self._check()
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "name": name,
            "plugin": plugin,
            "version": version,
            "parameters": dict(parameters),
            **({} if inputs is None else {"inputs": dict(inputs)}),
            "verdict": self.verdict,
            "gaps": list(self.gaps),
            "metrics": {key: float(value) for key, value in self.metrics.items()},
            "notes": list(self.notes),
            "tables": {
                key: {"columns": list(table.columns), "rows": [list(row) for row in table.rows], "folded": table.folded}
                for key, table in self.tables.items()
            },
            "figures": list(self.figures),
            "captions": dict(self.captions),
        }
        text = json_text(content, indent=2)
        for key, table in self.tables.items():
            write_bytes(folder / f"{key}.csv", csv_bytes(table))
        path = folder / "report.json"
        write_text(path, text + "\n")
        return path

    def _check(self) -> None:
        for name in ("figures", "notes", "gaps"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"Report.{name} is a list of texts, not one text")
        for key in self.tables:
            if not key or key != Path(key).name or "\\" in key or "\0" in key:
                raise ValueError(f"a table's name becomes a file name; {key!r} is none")


def csv_bytes(table: Table) -> bytes:
    """The table as the content of a CSV file: see `csv_text`."""
    return csv_text([table.columns, *table.rows]).encode("utf-8")


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    r"""Rows as CSV, the way all of transferkit writes it: to be shown, opened in a spreadsheet and encoded as UTF-8.

    Control characters and undecodable bytes are escapes (`\x1b`); texts that a spreadsheet would run have an apostrophe
    in front, numbers never.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(_cells(row) for row in rows)
    return text.getvalue()


def _cells(row: Sequence[Any]) -> Iterator[Any]:
    for cell in row:
        plain = _plain(cell)
        if isinstance(plain, str | Path):
            plain = printable(str(plain))
            plain = f"'{plain}" if _is_executed(plain) else plain
        yield plain


def _is_executed(text: str) -> bool:
    """Whether a spreadsheet would take the text for a formula."""
    if not text.startswith(EXECUTED):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def _plain(value: Any) -> Any:
    """A NumPy or torch value as Python's."""
    return value.tolist() if hasattr(value, "tolist") else value


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON, the way all of transferkit writes it: to be shown, read by any parser and encoded as UTF-8.

    Control characters stand as JSON's escapes; see `finite` for what changes.
    """
    return printable_json(json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False))


def write_json(path: Path, value: Any, indent: int = 2) -> None:
    """Replace a small file by the value as JSON, in one move."""
    write_text(path, json_text(value, indent) + "\n")


def finite(value: Any) -> Any:
    r"""The same value as JSON has it: null for NaN and infinities, escapes (`\xe9`) for undecodable bytes of names."""
    value = _plain(value)
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {encodable(str(key)): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
