"""The report's part about what edits did to a finished model: before and after, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transferkit.reporting import page
from transferkit.statistics import Estimate
from transferkit.words.formats import number, percent, points

NONE = float("nan")


def edits(stage: Mapping[str, Any]) -> str:
    """A table of every edit and data set, and what each edit says of itself; nothing where there were none."""
    found = [one for one in stage.get("edits") or [] if one]
    if not found:
        return ""
    rows = [row for one in found for row in _rows(one)]
    measured = ["top-1 before", "after", "difference", "95 % interval", "loss before", "after"]
    columns = ["edit", "split or data set", *measured]
    if all(row[2] == "–" for row in rows):  # numbers, not classes
        columns, rows = [*columns[:2], *columns[6:]], [[*row[:2], *row[6:]] for row in rows]
    notes = [page.paragraph(f"{_name(one)}: {text}") for one in found for text in one.get("notes") or []]
    about = page.paragraph(
        "Values were put into the finished model without training. The interval is of the difference on the same "
        "images (Newcombe's, for pairs).",
        "small",
    )
    return "".join([page.heading(3, "Edits"), page.table(columns, rows, right=range(2, len(columns))), about, *notes])


def _name(one: Mapping[str, Any]) -> str:
    return str(one.get("name") or one.get("use") or "edit")


def _rows(one: Mapping[str, Any]) -> Iterator[list[str]]:
    before, after = one.get("before") or {}, one.get("after") or {}
    for name, new in after.items():
        old, moved = before.get(name) or {}, (one.get("change") or {}).get(name) or {}
        value, low, high = (NONE if moved.get(key) is None else float(moved[key]) for key in ("top1", "low", "high"))
        gap = Estimate(value, low, high)
        interval = f"{100 * gap.low:+.1f} to {points(gap.high)}" if gap.known else "–"
        yield [
            _name(one),
            str(name),
            percent(old.get("top1")),
            percent(new.get("top1")),
            points(gap.value) if gap.known else "–",
            interval,
            number(old.get("loss")),
            number(new.get("loss")),
        ]
