"""What `across` says of a set of models: pairs with r, numbers over size and architecture, pictures of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from transferkit.errors import InputError, Problem
from transferkit.report import Report
from transferkit.suggest import did_you_mean
from transferkit_across import pictures, tables, verdict
from transferkit_across.curves import EPOCHS, MEASURES, STEPS, By, Line, Measure, Point, axes, lines, points
from transferkit_across.entries import Entry
from transferkit_across.pairs import Pair, Quantity, class_table, pairs, quantities

if TYPE_CHECKING:
    from transferkit_across.pictures import Draw

METRICS = ("runs", "pairs", "recall_r", "bias_r", "r", "retention_change_equal_epochs", "retention_change_equal_steps")


@dataclass
class Findings:
    """Everything that was compared."""

    entries: list[Entry]
    quantities: list[Quantity]
    measures: list[Measure]
    pairs: list[Pair] = field(init=False)
    points: list[Point] = field(init=False)
    by: dict[By, list[Line]] = field(init=False)

    def lines(self, kind: str) -> list[Line]:
        """The lines over images of that kind: equal epochs, or equal steps."""
        return [line for line in self.by.get("images", []) if line.kind == kind]


def report(entries: Sequence[Entry], draw: Draw, *, of: str | None = None, by: str = "auto", drawn: int = 6) -> Report:
    """Compare the models. `of` is PLUGIN.COLUMN or PLUGIN.METRIC; without it, everything the papers compare.

    `drawn` is the largest number of pairs drawn per quantity. Raises InputError for an `of` that no model has.
    """
    found = Findings(list(entries), *(chosen(entries, of) if of else (quantities(entries), list(MEASURES))))
    found.pairs = [pair for quantity in found.quantities for pair in pairs(entries, quantity)]
    found.points = points(entries)
    measured = [m for m in found.measures if any(not math.isnan(m.of(entry)) for entry in entries)]
    found.measures = measured
    found.by = {axis: lines(found.points, axis) for axis in axes(found.points, by)} if measured else {}
    captions = _draw(found, draw, drawn)
    return Report(
        metrics=metrics(found, of),
        tables=tables.tables(found),
        figures=list(captions),
        captions=captions,
        verdict=verdict.verdict(found),
        notes=verdict.notes(found, drawn),
        gaps=verdict.gaps(found, of, by),
    )


def chosen(entries: Sequence[Entry], of: str) -> tuple[list[Quantity], list[Measure]]:
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


def metrics(found: Findings, of: str | None) -> dict[str, float]:
    """Every metric the analyzer declares."""
    retention = next(m for m in MEASURES if m.key == "relative_retention")
    changes = {
        kind: next((c for line in found.lines(kind) if not math.isnan(c := line.change(retention))), math.nan)
        for kind in (EPOCHS, STEPS)
    }
    return {
        "runs": float(len(found.entries)),
        "pairs": float(len({(id(pair.one), id(pair.other)) for pair in found.pairs})),
        "recall_r": mean_r([p for p in found.pairs if p.quantity.column == "recall_head_swap"]),
        "bias_r": mean_r([p for p in found.pairs if p.quantity.targets]),
        "r": mean_r(found.pairs) if of else math.nan,
        "retention_change_equal_epochs": changes[EPOCHS],
        "retention_change_equal_steps": changes[STEPS],
    }


def mean_r(found: Sequence[Pair]) -> float:
    """The mean r over pairs that differ in more than the seed, if there are any; else over all. NaN without any."""
    known = [pair for pair in found if not math.isnan(pair.correlation.r)]
    known = [pair for pair in known if not pair.seeds] or known
    return math.fsum(pair.correlation.r for pair in known) / len(known) if known else math.nan


def _draw(found: Findings, draw: Draw, drawn: int) -> dict[str, str]:
    """Numbers over size first, then classes in pairs of models, then numbers by architecture."""
    captions: dict[str, str] = {}
    for axis, known in found.by.items():
        if axis != "architecture":
            captions |= (pictures.curve(draw, measure, shown, axis) for measure, shown in _shown(found, known))
    for quantity in found.quantities:
        own = [pair for pair in found.pairs if pair.quantity == quantity and pair.correlation.n > 0]
        for number, pair in enumerate(sorted(own, key=lambda pair: pair.seeds)[:drawn], start=1):
            start = "bias" if quantity.targets else quantity.column.replace("recall_head_swap", "recall")
            file, caption = pictures.scatter(draw, _file_name(f"{start}-{number}", captions), pair)
            captions[file] = caption
    for measure, shown in _shown(found, found.by.get("architecture", [])):
        captions |= [pictures.architectures(draw, measure, shown)]
    return captions


def _shown(found: Findings, known: Sequence[Line]) -> Iterator[tuple[Measure, list[Line]]]:
    """Every number with the lines that have some of it."""
    for measure in found.measures:
        shown = [line for line in known if any(not math.isnan(point.mean(measure)) for point in line.points)]
        if shown:
            yield measure, shown


def _file_name(name: str, taken: dict[str, str]) -> str:
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
    while f"{plain}.svg" in taken:
        plain += "b"
    return plain
