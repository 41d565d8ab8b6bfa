"""What is compared, and what the comparison found: pairs of models with r, and numbers over size and architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferkit.errors import InputError, Problem, did_you_mean
from transferkit_across.curves import EPOCHS, MEASURES, STEPS, By, Line, Measure, Point, axes, lines, points
from transferkit_across.entries import Entry
from transferkit_across.pairs import Pair, Quantity, class_table, pairs, quantities

if TYPE_CHECKING:
    from transferkit_across.options import Options


@dataclass(frozen=True)
class Findings:
    """Everything that was compared."""

    entries: Sequence[Entry]
    quantities: list[Quantity]
    pairs: list[Pair]
    measures: list[Measure]
    """Those that some model has a number of."""
    points: list[Point]
    by: dict[By, list[Line]]
    gaps: list[str]
    """What could not be compared, and why."""

    def lines(self, kind: str) -> list[Line]:
        """The lines over images of that kind: equal epochs, or equal steps."""
        return [line for line in self.by.get("images", []) if line.kind == kind]


def measure(entries: Sequence[Entry], options: Options) -> Findings:
    """Compare the models: in what `of` names, PLUGIN.COLUMN or PLUGIN.METRIC; without it, in all the papers compare.

    Raises InputError for an `of` that no model has.
    """
    asked, numbers = chosen(entries, options.of) if options.of else (quantities(entries), MEASURES)
    measures = [one for one in numbers if any(not math.isnan(one.of(entry)) for entry in entries)]
    found = points(entries)
    gaps: list[str] = []
    result = Findings(
        entries=entries,
        quantities=asked,
        pairs=[pair for quantity in asked for pair in pairs(entries, quantity)],
        measures=measures,
        points=found,
        by={axis: lines(found, axis) for axis in axes(found, options.by)} if measures else {},
        gaps=gaps,
    )
    gaps += _gaps(result, options)
    return result


def chosen(entries: Sequence[Entry], of: str) -> tuple[list[Quantity], Sequence[Measure]]:
    """What `of` names: a column of a table of source classes, or a metric."""
    plugin, _, name = of.partition(".")
    reports = [entry.reports[plugin] for entry in entries if plugin in entry.reports]
    if not reports or not name:
        known = sorted({plugin for entry in entries for plugin in entry.reports})
        hint = did_you_mean(plugin, known)
        raise InputError(Problem("", f'--of "{of}": write PLUGIN.COLUMN or PLUGIN.METRIC', hint))
    columns = {name for one in reports for name in (class_table(one) or {}).get("columns", ())}
    numbers = {name for one in reports for name in one.get("metrics") or {}}
    if name in columns - {"class", "name"}:
        return [Quantity(plugin, name, of)], []
    if name in numbers:
        text = next((m.text for m in MEASURES if (m.plugin, m.metric) == (plugin, name)), of)
        return [], [Measure(name, plugin, name, text)]
    hint = did_you_mean(name, (columns | numbers) - {"class", "name"})
    raise InputError(Problem("", f'--of "{of}": the analysis {plugin} has no column or metric "{name}"', hint))


def mean_r(found: Sequence[Pair]) -> float:
    """The mean r over pairs that differ in more than the seed, if there are any; else over all. NaN without any."""
    known = [pair for pair in found if not math.isnan(pair.correlation.r)]
    known = [pair for pair in known if not pair.seeds] or known
    return math.fsum(pair.correlation.r for pair in known) / len(known) if known else math.nan


def _gaps(found: Findings, options: Options) -> list[str]:
    """What could not be compared, and why."""
    texts = [
        f"No r for {pair.quantity.text} of {pair.one.label} and {pair.other.label}: {pair.correlation.why}."
        for pair in found.pairs
        if pair.correlation.why
    ]
    if options.of is None:
        for plugin in ("retention", "bias"):
            names = [entry.label for entry in found.entries if plugin not in entry.reports]
            texts += [f"No {plugin} analysis of {', '.join(names)}."] if names else []
        if sum("bias" in entry.reports for entry in found.entries) > 1 and not any(q.targets for q in found.quantities):
            texts.append("The models have different target classes, so their bias cannot be compared.")
    for axis in found.by:
        without = sum(getattr(point.facts, axis) is None for point in found.points)
        if without:
            texts.append(
                f"{without} of {len(found.points)} recipes have no {axis} on record and are not drawn over it."
            )
    if "images" in found.by and not found.lines(STEPS) and found.lines(EPOCHS):
        texts.append("No models of equal steps: whether the images or the steps make the difference cannot be told.")
    if options.by != "auto" and not found.measures:
        texts.append(f"There is no number to draw over {options.by}.")
    return texts
