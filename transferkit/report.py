"""What an analyzer returns: numbers, tables and pictures, as data; and what its numbers mean, declared once."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from transferkit.errors import InputError
from transferkit.statistics import Estimate
from transferkit.system.atomic import make_folder, write_bytes, write_text
from transferkit.words.formats import BOUNDS, count, first_name, hundredths, listing, number, percent, points
from transferkit.words.text import encodable, printable, printable_json

__all__ = [
    "Headline",
    "Meaning",
    "Metric",
    "Report",
    "Table",
    "attempt",
    "count",
    "first_name",
    "hundredths",
    "listing",
    "number",
    "percent",
    "points",
]

EXECUTED = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


@dataclass
class Table:
    """Named columns and rows of plain values. A `folded` table is shown closed: long ones, one row per class."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    folded: bool = False

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] = (), folded: bool = False) -> Self:
        """A table whose names stand beside their values: {column: value} for each row, in the order of the first.

        `columns` are those of a table without rows. Raises ValueError for a row with other columns than the first.
        """
        names = list(rows[0]) if rows else list(columns)
        for row in rows:
            if list(row) != names:
                raise ValueError(f"a row has the columns {list(row)}, and the first has {names}")
        return cls(names, [list(row.values()) for row in rows], folded)


@dataclass(frozen=True)
class Metric:
    """What a number of an analyzer is, declared once; whatever shows the number reads it here.

    key       its name in report.json and in conditions
    name      what people call it
    unit      share (0..1), points (a difference of shares), count, ratio, p (a p-value) or number
    more      whether more of it is better, worse or neither
    answers   the question that it answers
    interval  whether it is an `Estimate`: `key_low` and `key_high` are in the report, too
    """

    key: str
    name: str
    unit: Literal["share", "points", "count", "ratio", "p", "number"] = "number"
    more: Literal["better", "worse", "neither"] = "neither"
    answers: str = ""
    interval: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Its names in report.json."""
        return (self.key, f"{self.key}_low", f"{self.key}_high") if self.interval else (self.key,)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that it can be, by its unit: a share lies within 0..1."""
        return BOUNDS.get(self.unit, (-math.inf, math.inf))


@dataclass(frozen=True)
class Meaning:
    """What a number means to somebody who knows no paper, what to do about it, and a clause for the first sentence.

    `$value`, `$against`, any metric's key and any option of the analysis stand for themselves as people read them;
    `$run` and `$model` for the folders of the run and of the model, `$detector` for a sentence on the model's detector.
    Commands and recipe lines stand in `backticks`.

    brief  continues "The model …": "still recognises $value of what its source could name"
    """

    text: str
    todo: str = ""
    brief: str = ""


@dataclass(frozen=True)
class Headline:
    """The number with which an analyzer answers its question on the first screen of a report.

    question  the title of its section: "What does it still recognise?". Analyses with one question share the section
    metric    the key of the number; of several headlines the first is taken of which everything was measured
    more      what it means where it is certainly above what it is compared with, or where it is compared with nothing
    less      where it is certainly below; unsure: where neither is certain. Without one, `more` holds there, too
    title     what stands above the number; by default the metric's name
    shown     the number as it is shown, as "$value of $source_only"
    against   the key of what is shown beside it, and `rival` says what that is: "by chance"
    decides   the key of the number that decides between the three, when it is not the number itself, with `bar`;
              without a `bar` the number is compared with `against`
    how       how it is measured, in a sentence or two
    absent    what nobody knows where this was not measured: "what it still carries of its source"
    """

    question: str
    metric: str
    more: Meaning
    less: Meaning | None = None
    unsure: Meaning | None = None
    title: str = ""
    shown: str = "$value"
    against: str = ""
    rival: str = "by chance"
    decides: str = ""
    bar: float | None = None
    how: str = ""
    absent: str = ""

    @property
    def keys(self) -> list[str]:
        """The metrics without which it is not shown."""
        return [key for key in (self.metric, self.against, self.decides) if key]


Found = TypeVar("Found")


def attempt(gaps: list[str], what: str, compute: Callable[[], Found]) -> Found | None:
    """What `compute` finds, or None with a sentence in `gaps` where it raises InputError: "WHAT: why."

    `what` says what is missing, "The baseline was not measured"; without it the reason stands alone. The hints of the
    error come on the same line, and nothing is said twice.
    """
    try:
        return compute()
    except InputError as error:
        reason = " ".join(str(error).split())
        text = f"{what}: {reason}." if what else f"{reason[:1].upper()}{reason[1:]}."
        if text not in gaps:
            gaps.append(text)
        return None


@dataclass
class Report:
    """The findings of one analysis.

    metrics   name -> number; NaN for what could not be measured. An Estimate becomes `x`, `x_low` and `x_high`
    tables    name -> Table; the name becomes a file name
    figures   file names inside the analysis folder, by default those with captions; gallery-* are shown as one gallery
    verdict   one to three sentences with the numbers that carry them, for a reader who knows no paper
    notes     small print beside the numbers: counts, thresholds, seeds, chance levels, intervals
    gaps      what could not be measured, and why
    captions  figure file -> what it shows
    """

    metrics: Mapping[str, float | Estimate] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Sequence[str] = ()
    verdict: str | None = None
    notes: Sequence[str] = ()
    gaps: Sequence[str] = ()
    captions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers: dict[str, Any] = {}
        for key, value in self.metrics.items():
            if isinstance(value, Estimate):
                numbers |= value.columns(key, f"{key}_low", f"{key}_high")
            else:
                numbers[key] = value
        self.metrics = numbers
        self.figures = self.figures or list(self.captions)

    @property
    def numbers(self) -> dict[str, float]:
        """The metrics as report.json has them, NaN where nothing could be measured."""
        return {key: float(value) for key, value in self.metrics.items()}  # type: ignore[arg-type]

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
        for given in ("figures", "notes", "gaps"):
            if isinstance(getattr(self, given), str):
                raise TypeError(f"Report.{given} is a list of texts, not one text")
        for key in self.tables:
            if not key or key != Path(key).name or "\\" in key or "\0" in key:
                raise ValueError(f"a table's name becomes a file name; {key!r} is none")
        make_folder(folder)
        content = {
            "name": name,
            "plugin": plugin,
            "version": version,
            "parameters": dict(parameters),
            **({} if inputs is None else {"inputs": dict(inputs)}),
            "verdict": self.verdict,
            "gaps": list(self.gaps),
            "metrics": self.numbers,
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
