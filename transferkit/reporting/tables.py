"""The report's tables: values of JSON as people read them, cut to what fits a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.report import Metric
from transferkit.reporting import page
from transferkit.words.formats import in_unit

ROWS = 50
COLUMNS = 40
DIGITS = 4


def cell(value: Any) -> str:
    """A single value: a dash for null, yes or no, four significant digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}" if value != round(value) or abs(value) >= 1e6 else f"{value:.0f}"
    return str(value)


def shown_metric(value: float | None, metric: Metric) -> str:
    """A metric's value in its unit."""
    return cell(value) if value is None or metric.unit == "number" else in_unit(value, metric.unit)


def result_table(place: str, key: str, table: Mapping[str, Any]) -> str:
    """A table of a report.json: its first rows, closed when it is `folded`. `place` is the folder of its CSV file."""
    columns, rows = list(table.get("columns") or []), list(table.get("rows") or [])
    title, file = key.replace("_", " "), f"{place}/{key}.csv"
    if not rows:
        return page.heading(3, title) + page.paragraph("No rows.", "small")
    content = _table(columns, rows[:ROWS])
    if len(rows) > ROWS:
        content += f'<p class="small">The first {ROWS} of {len(rows)} rows; all of them: {page.link(file)}</p>'
    else:
        content += f'<p class="small">{page.link(file)}</p>'
    if table.get("folded"):
        return page.closed(f"{title}: {len(rows)} row{'s' if len(rows) > 1 else ''}", content, "rows")
    return page.heading(3, title) + content


def _table(columns: list[str], rows: Sequence[Sequence[Any]]) -> str:
    """The table; of more than COLUMNS columns those in the middle are left out."""
    shown, note = list(range(len(columns))), ""
    if len(columns) > COLUMNS:
        half = COLUMNS // 2
        shown = [*range(half), -1, *range(len(columns) - half, len(columns))]
        left = len(columns) - COLUMNS
        note = page.paragraph(f"{left} of {len(columns)} columns, in the middle, are left out here.", "small")
    parts = [(columns[i], [row[i] if i < len(row) else None for row in rows]) if i >= 0 else ("…", []) for i in shown]
    texts = [_texts(values) if values else ["…"] * len(rows) for _, values in parts]
    right = [place for place, (_, values) in enumerate(parts) if values and all(map(_is_number, values))]
    return page.table([name for name, _ in parts], zip(*texts, strict=True), right) + note


def _texts(values: Sequence[Any]) -> list[str]:
    """A column's cells: shares and other fractions with the same number of decimals, so that they can be compared."""
    if not all(map(_is_number, values)) or not any(isinstance(value, float) for value in values):
        return [cell(value) for value in values]
    largest = max(abs(value) for value in values if value is not None)
    if largest >= 1000 or all(value is None or value == round(value) for value in values):
        return [cell(value) for value in values]
    decimals = max(0, DIGITS - max(1, math.floor(math.log10(largest)) + 1)) + (largest <= 1)
    return [_fixed(value, decimals) for value in values]


def _fixed(value: float | None, decimals: int) -> str:
    if value is None:
        return cell(value)
    return cell(float(value)) if 0 < abs(value) < 10**-decimals else f"{value:.{decimals}f}"


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
