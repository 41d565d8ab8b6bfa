"""The tables of `across`: every model, every pair, every point of a line."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from transferkit.report import Table

if TYPE_CHECKING:
    from transferkit_across.report import Findings

OPEN = 30  # longer tables are shown closed


def tables(found: Findings) -> dict[str, Table]:
    """`runs`, and `pairs` and `sizes` where there are some."""
    result = {"runs": runs(found)}
    if found.pairs:
        result["pairs"] = pairs(found)
    if any(axis != "architecture" for axis in found.by):
        result["lines"] = lines(found)
    return result


def runs(found: Findings) -> Table:
    """One row per model: how it was trained and its numbers."""
    columns = ["model", "run", "stage", "architecture", "images", "steps", "epochs", "kept_epoch", "seed"]
    rows: list[list[Any]] = []
    for entry in found.entries:
        facts = entry.facts
        row = [entry.label, str(entry.run.path), entry.stage, facts.architecture, facts.images, facts.steps]
        rows.append(
            [*row, facts.epochs, facts.kept_epoch, facts.seed, *(measure.of(entry) for measure in found.measures)]
        )
    return Table([*columns, *(measure.key for measure in found.measures)], rows, folded=len(rows) > OPEN)


def pairs(found: Findings) -> Table:
    """One row per pair and quantity: r with its 95 % interval."""
    rows = []
    for pair in found.pairs:
        r, low, high, n, why = pair.correlation
        images = statistics.median(pair.images) if pair.images else None
        rows.append([pair.quantity.text, pair.one.label, pair.other.label, n, images, r, low, high])
        rows[-1] += ["seed" if pair.seeds else "recipe", why]
    columns = ["quantity", "one", "other", "classes", "median_images", "r", "low", "high", "differ_in", "why_none"]
    return Table(columns, rows, folded=len(rows) > OPEN)


def lines(found: Findings) -> Table:
    """One row per point of a line: its place, and mean and standard deviation of every number over its seeds."""
    columns = ["axis", "line", "images", "steps", "epochs", "seeds"]
    columns += [f"{measure.key}{end}" for measure in found.measures for end in ("", "_sd")]
    rows: list[list[Any]] = []
    for axis, known in found.by.items():
        for line in known if axis != "architecture" else ():
            for point in line.points:
                row = [axis, line.name, point.facts.images, point.facts.steps, point.facts.epochs, len(point.entries)]
                rows.append([*row, *(value for m in found.measures for value in (point.mean(m), point.sd(m)))])
    return Table(columns, rows, folded=len(rows) > OPEN)
