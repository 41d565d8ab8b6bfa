"""What `retention` says of what it found: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

import math

from transferkit.analysis import AnalysisSession
from transferkit.report import Report, Table
from transferkit.statistics import Estimate
from transferkit_retention.measure import (
    COMMON,
    RARE,
    SOURCE_ONLY,
    Findings,
    chance,
    halves,
    images_per_class,
    measure,
)
from transferkit_retention.options import Options
from transferkit_retention.pictures import draw
from transferkit_retention.scores import BINS, recall_histogram, recalls
from transferkit_retention.verdict import notes, verdict


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Retention.analyze` returns."""
    found = measure(session, options)
    return Report(
        metrics=metrics(found),
        tables=tables(found),
        captions=draw(session, found),
        verdict=verdict(found),
        notes=notes(session, options, found),
        gaps=found.gaps,
    )


def metrics(found: Findings) -> dict[str, float | Estimate]:
    """Every metric the analyzer declares."""
    whole, nothing = found.overall, Estimate(math.nan)
    ratios = {name: group.ratio for name, group in found.groups.items()}
    before, after = halves(found)
    return {
        "top1_source": whole.source,
        "top1_head_swap": whole.swap,
        "relative_retention": whole.ratio,
        "relative_retention_chance": chance(found),
        "relative_retention_source_only": ratios.get(SOURCE_ONLY, nothing),
        "relative_retention_rare": ratios.get(RARE, nothing),
        "relative_retention_common": ratios.get(COMMON, nothing),
        "relative_retention_gap": found.gap,
        "recalled_half": after,
        "recalled_half_source": before,
        "images_per_class": images_per_class(found),
    }


def tables(found: Findings) -> dict[str, Table]:
    """By prevalence where that is known; table 1 of paper 001 for both models, how many classes have a recall in each
    bin, and how many in all; and every source class, with nulls where there are no images, or no source model."""
    made = {}
    if found.groups:
        made["by_prevalence"] = Table.of(
            [
                {
                    "prevalence": name,
                    "classes": group.classes,
                    "images": group.images,
                    **group.source.columns("top1_source", "source_low", "source_high"),
                    **group.swap.columns("top1_head_swap", "head_swap_low", "head_swap_high"),
                    **group.ratio.columns("relative_retention", "relative_low", "relative_high"),
                }
                for name, group in found.groups.items()
            ]
        )
    correct = {"head_swap": found.correct_swap, "source": found.correct_source}
    bins = {model: recall_histogram(right, found.total) for model, right in correct.items() if right is not None}
    rows = [{"recall": name, **{model: int(sizes[i]) for model, sizes in bins.items()}} for i, name in enumerate(BINS)]
    made["histogram"] = Table.of([*rows, {"recall": "all", **{model: int(n.sum()) for model, n in bins.items()}}])
    before, after = recalls(found.correct_source, found.total), recalls(found.correct_swap, found.total)
    made["retention"] = Table.of(
        [
            {
                "class": c,
                "name": name,
                "images": images,
                "recall_source": before[c],
                "recall_head_swap": after[c],
                "relative_retention": after[c] / before[c] if before[c] else math.nan,
            }
            for c, (name, images) in enumerate(zip(found.names, found.total.tolist(), strict=True))
        ],
        folded=True,
    )
    return made
