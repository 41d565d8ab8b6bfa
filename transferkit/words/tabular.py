"""Results that a notebook shows as a table, and that pandas takes as a frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError
from transferkit.words.formats import number
from transferkit.words.text import one_line

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 30  # rows in a notebook


class Tabular:
    """A result with one record per row: a line as `repr`, a table in a notebook, a pandas frame on request."""

    def records(self) -> Sequence[Mapping[str, Any]]:
        """{column: value} for each row, all with the same columns; None and NaN are what is not known."""
        raise NotImplementedError

    def heading(self) -> str:
        """What it is, in a line."""
        raise NotImplementedError

    def sentences(self) -> Sequence[str]:
        """What a notebook shows below the table."""
        return ()

    def to_frame(self) -> DataFrame:
        """The records as a pandas DataFrame. Raises InputError where pandas is not installed."""
        return frame(self.records())

    def __repr__(self) -> str:
        return f"<{self.heading()}>"

    def _repr_html_(self) -> str:
        below = "".join(f"<p>{escape(one_line(text))}</p>" for text in self.sentences())
        return f"<p><b>{escape(one_line(self.heading()))}</b></p>{html_table(self.records())}{below}"


def frame(records: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Records as a pandas DataFrame. Raises InputError where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        raise InputError("a frame needs pandas, which is not installed: pip install pandas") from None
    return pandas.DataFrame.from_records(records)


def html_table(records: Sequence[Mapping[str, Any]]) -> str:
    """The first records as an HTML table, in the style that notebooks have for frames; empty columns are left out."""
    if not records:
        return ""
    shown = records[:SHOWN]
    columns = [name for name in records[0] if any(_cell(row[name]) for row in shown)]
    head = "".join(f"<th>{escape(one_line(name))}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(_cells(row, columns))}</tr>" for row in shown)
    more = f"<p>… and {len(records) - SHOWN} more</p>" if len(records) > SHOWN else ""
    return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}'


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> Iterator[str]:
    for name in columns:
        side = ' style="text-align: left"' if isinstance(row[name], str) else ""
        yield f"<td{side}>{escape(_cell(row[name]))}</td>"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else one_line(str(value))
