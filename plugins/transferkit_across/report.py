"""What `across` says of a set of models: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferkit.report import Report, Table
from transferkit.statistics import Estimate
from transferkit_across.curves import EPOCHS, MEASURES, STEPS
from transferkit_across.entries import Entry
from transferkit_across.measure import Findings, mean_r, measure
from transferkit_across.pictures import draw
from transferkit_across.verdict import notes, verdict

if TYPE_CHECKING:
    from transferkit_across.options import Options
    from transferkit_across.pictures import Picture

OPEN = 30  # longer tables are shown closed
UNKNOWN = Estimate(math.nan)
PLACE = ("images", "steps", "epochs")
FACTS = ("architecture", *PLACE, "kept_epoch", "seed")


def report(entries: Sequence[Entry], options: Options, picture: Picture) -> Report:
    """Compare the models and say what came out.

    Raises InputError where `of` is what no model has.
    """
    found = measure(entries, options)
    return Report(
        metrics=metrics(found, options),
        tables=tables(found),
        captions=draw(picture, options, found),
        verdict=verdict(found),
        notes=notes(options, found),
        gaps=found.gaps,
    )


def metrics(found: Findings, options: Options) -> dict[str, float | Estimate]:
    """Every metric the analyzer declares."""
    retention = next(m for m in MEASURES if m.key == "relative_retention")
    changes = {
        kind: next((c for line in found.lines(kind) if not math.isnan((c := line.change(retention)).value)), UNKNOWN)
        for kind in (EPOCHS, STEPS)
    }
    return {
        "runs": float(len(found.entries)),
        "pairs": float(len({(id(pair.one), id(pair.other)) for pair in found.pairs})),
        "recall_r": mean_r([p for p in found.pairs if p.quantity.column == "recall_head_swap"]),
        "bias_r": mean_r([p for p in found.pairs if p.quantity.targets]),
        "r": mean_r(found.pairs) if options.of else math.nan,
        "retention_change_equal_epochs": changes[EPOCHS],
        "retention_change_equal_steps": changes[STEPS],
    }


def tables(found: Findings) -> dict[str, Table]:
    """Every model, and what there is to compare.

    runs   a row per model: how it was trained and its numbers
    pairs  a row per pair and quantity: r with its 95 % interval, as it is and corrected for the noise of few images
    lines  a row per point of a line: its place, and mean and standard deviation of every number over its seeds
    """
    models = [
        {
            "model": entry.label,
            "run": str(entry.run.path),
            "stage": entry.stage,
            **{name: getattr(entry.facts, name) for name in FACTS},
            **{measure.key: measure.of(entry) for measure in found.measures},
        }
        for entry in found.entries
    ]
    result = {"runs": Table.of(models, folded=len(models) > OPEN)}
    if found.pairs:
        pairs = [
            {
                "quantity": pair.quantity.text,
                "one": pair.one.label,
                "other": pair.other.label,
                "classes": pair.correlation.n,
                "median_images": statistics.median(pair.images) if pair.images else None,
                "r": pair.correlation.r,
                "low": pair.correlation.low,
                "high": pair.correlation.high,
                "reliability_one": pair.reliability[0],
                "reliability_other": pair.reliability[1],
                **pair.corrected.columns("r_corrected", "corrected_low", "corrected_high"),
                "differ_in": "seed" if pair.seeds else "recipe",
                "why_none": pair.correlation.why,
            }
            for pair in found.pairs
        ]
        result["pairs"] = Table.of(pairs, folded=len(pairs) > OPEN)
    lines = {axis: known for axis, known in found.by.items() if axis != "architecture"}
    if lines:
        columns = ["axis", "line", *PLACE, "seeds"]
        columns += [f"{measure.key}{end}" for measure in found.measures for end in ("", "_sd")]
        rows = [
            [axis, line.name, *(getattr(point.facts, name) for name in PLACE), len(point.entries)]
            + [value for measure in found.measures for value in (point.mean(measure), point.sd(measure))]
            for axis, known in lines.items()
            for line in known
            for point in line.points
        ]
        result["lines"] = Table(columns, rows, folded=len(rows) > OPEN)
    return result
