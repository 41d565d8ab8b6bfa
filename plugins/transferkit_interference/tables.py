"""The tables of the analyzer `interference`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transferkit.report import Table
from transferkit_interference.detectors import Eq5
from transferkit_interference.evaluation import COVERAGES, Groups, Row
from transferkit_interference.material import Material
from transferkit_interference.ranks import auroc, share_above

PERCENT = [f"{100 * share:g}" for share in COVERAGES]


def comparison(rows: Sequence[Row]) -> Table:
    """One row per detector, the three questions side by side."""
    columns = ["detector", "passes", "auroc_presence", "presence_low", "presence_high", "aupr_presence"]
    columns += ["fpr95_presence", "tpr_presence", "false_alarms", "threshold"]
    columns += ["auroc_composites", "composites_low", "composites_high", "composites_vs_colour", "composites_vs_target"]
    columns += ["aurc_harm", *(f"accuracy_at_{share}" for share in PERCENT)]
    columns += ["specificity", "specificity_low", "specificity_high"]
    return Table(
        columns,
        [
            [
                row.detector.name,
                row.detector.passes,
                *row.presence,
                row.aupr,
                row.fpr95,
                row.tpr,
                row.false_alarms,
                row.threshold,
                *row.composites,
                row.against_colour,
                row.against_other,
                row.aurc,
                *row.accuracy,
                *row.specificity,
            ]
            for row in rows
        ],
    )


def per_class(material: Material, groups: Groups, score: Eq5, threshold: float) -> Table:
    """One row per lingering class with images in the evaluating half: is it noticed, and is it called by its name?"""
    seen, clean = groups.seen["lingering"], score(groups.seen["clean"])
    values, named = score(seen), score.named(seen)
    known = material.half
    rows = []
    for c in np.unique(seen.labels).tolist():
        own = seen.labels == c
        rows.append(
            [
                c,
                known.names[c],
                int(known.prevalence[c]),
                float(known.mean_probability[c]),
                int(own.sum()),
                auroc(values[own], clean),
                share_above(values[own], threshold),
                float((named[own] == c).mean()),
            ]
        )
    columns = ["class", "name", "prevalence", "mean_probability", "images", "auroc_presence", "flagged", "named"]
    return Table(columns, rows, folded=True)


def watched(material: Material) -> Table:
    """The classes that the shipped detector watches."""
    known = material.memories
    rows = [
        [c, known.names[c], int(known.prevalence[c]), float(known.mean_probability[c]), int(known.images[c])]
        for c in known.lingering.tolist()
    ]
    return Table(["class", "name", "prevalence", "mean_probability", "images"], rows, folded=True)
