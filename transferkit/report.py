"""What an analyzer returns: numbers, tables and pictures, as data."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.atomic import write_bytes

EXECUTED = ("=", "+", "-", "@", "\t", "\r")


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
        text = json.dumps(finite(content), indent=2, ensure_ascii=False)
        for key, table in self.tables.items():
            write_bytes(folder / f"{key}.csv", csv_bytes(table))
        path = folder / "report.json"
        write_bytes(path, _bytes(text + "\n"))
        return path

    def _check(self) -> None:
        for name in ("figures", "notes", "gaps"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"Report.{name} is a list of texts, not one text")
        for key in self.tables:
            if not key or key != Path(key).name or "\\" in key or "\0" in key:
                raise ValueError(f"a table's name becomes a file name; {key!r} is none")


def csv_bytes(table: Table) -> bytes:
    """The table as the content of a CSV file; texts that a spreadsheet would run have an apostrophe in front."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_cells(table.columns))
    writer.writerows(_cells(row) for row in table.rows)
    return _bytes(text.getvalue())


def _cells(row: Sequence[Any]) -> Iterator[Any]:
    for cell in row:
        plain = _plain(cell)
        yield f"'{plain}" if isinstance(plain, str) and _is_executed(plain) else plain


def _is_executed(text: str) -> bool:
    """Whether a spreadsheet would take the text for a formula."""
    if not text.startswith(EXECUTED):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def _bytes(text: str) -> bytes:
    """As UTF-8. Undecodable bytes of a file name become `\\udcXX`, which is how JSON spells them."""
    return text.encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    """A NumPy or torch value as Python's."""
    return value.tolist() if hasattr(value, "tolist") else value


def finite(value: Any) -> Any:
    """The same JSON value with NaN and infinities as null: JSON has no such numbers."""
    value = _plain(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
