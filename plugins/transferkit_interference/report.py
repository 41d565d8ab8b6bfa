"""What `interference` says of what it found: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from transferkit.report import Report, Table
from transferkit.statistics import Estimate
from transferkit_interference.evaluation import COVERAGES
from transferkit_interference.measure import Findings, measure
from transferkit_interference.pictures import draw
from transferkit_interference.ranks import auroc, share_above
from transferkit_interference.shipping import ship
from transferkit_interference.verdict import notes, verdict

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.options import Options

NOTHING = (
    "No source class lingers by the half of the source images that may choose (see the analysis lingering), so there "
    "is nothing to detect."
)

METRICS: dict[str, Callable[[Findings], float | Estimate]] = {
    "detect_p": lambda found: found.shipped.file.detect_p,
    "false_alarm_rate": lambda found: found.chosen.false_alarms.value,
    "false_alarm_low": lambda found: found.chosen.false_alarms.low,
    "false_alarm_high": lambda found: found.chosen.false_alarms.high,
    "auroc_presence": lambda found: found.chosen.presence,
    "aupr_presence": lambda found: found.chosen.aupr,
    "fpr95_presence": lambda found: found.chosen.fpr95,
    "tpr_presence": lambda found: found.chosen.tpr,
    "auroc_composites": lambda found: found.chosen.composites,
    "aurc_harm": lambda found: found.chosen.aurc,
    "specificity": lambda found: found.chosen.specificity,
    "named": lambda found: found.named,
    "watched": lambda found: float(len(found.shipped.score.lingering)),
    "calibration_size": lambda found: float(found.shipped.file.guarantee.calibration_size),
}
"""Every metric the analyzer declares."""
INTERVALS = ("auroc_presence", "tpr_presence", "auroc_composites", "aurc_harm", "specificity", "named")
UNKNOWN = Estimate(math.nan)


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `InterferenceDetector.analyze` returns. The detector is written where it is wanted."""
    found = measure(session, options)
    if found is None:
        return Report(
            metrics=dict.fromkeys(METRICS, math.nan) | dict.fromkeys(INTERVALS, UNKNOWN) | {"watched": 0.0},
            verdict=NOTHING,
            gaps=["No detector was made: no class lingers."],
        )
    written = ship(session, options, found.shipped)
    return Report(
        metrics={name: of(found) for name, of in METRICS.items()},
        tables=tables(found),
        captions=draw(session, found),
        verdict=verdict(options, found),
        notes=[written, *notes(session, options, found)],
        gaps=found.gaps,
    )


def tables(found: Findings) -> dict[str, Table]:
    """What each detector is worth, and which classes are behind it.

    comparison  all detectors, the three questions side by side
    rivals      a row per question and detector of at most the same cost: how much better it is, with its interval
    classes     the lingering classes that were evaluated
    watched     the classes of the shipped detector
    attempts    where they were asked for
    """
    comparison = [
        {
            "detector": row.detector.name,
            "passes": row.detector.passes,
            **row.presence.columns("auroc_presence", "presence_low", "presence_high"),
            "aupr_presence": row.aupr,
            "fpr95_presence": row.fpr95,
            **row.tpr.columns("tpr_presence", "tpr_low", "tpr_high"),
            "false_alarms": row.false_alarms.value,
            "threshold": row.threshold,
            **row.composites.columns("auroc_composites", "composites_low", "composites_high"),
            "composites_vs_colour": row.against_colour,
            "composites_vs_target": row.against_other,
            **row.aurc.columns("aurc_harm", "aurc_low", "aurc_high"),
            **{f"accuracy_at_{100 * share:g}": known for share, known in zip(COVERAGES, row.accuracy, strict=True)},
            **row.specificity.columns("specificity", "specificity_low", "specificity_high"),
        }
        for row in found.rows
    ]
    known = found.material.memories
    watched = [
        {
            "class": c,
            "name": known.names[c],
            "prevalence": int(known.prevalence[c]),
            "mean_probability": float(known.mean_probability[c]),
            "images": int(known.images[c]),
        }
        for c in found.shipped.score.lingering.tolist()
    ]
    against = [
        {
            "question": rival.question,
            "detector": rival.detector.name,
            "theirs": rival.theirs,
            "ours": rival.ours,
            **rival.gain.columns("gain", "gain_low", "gain_high"),
            "better": rival.gain.above(0),
            "worse": rival.gain.below(0),
        }
        for rival in found.rivals
    ]
    tried = [one._asdict() for one in found.attempts]
    return {
        "comparison": Table.of(comparison),
        **({"rivals": Table.of(against, folded=True)} if against else {}),
        "classes": per_class(found),
        **({"watched": Table.of(watched, folded=True)} if watched else {}),
        **({"attempts": Table.of(tried)} if tried else {}),
    }


def per_class(found: Findings) -> Table:
    """One row per lingering class with images in the evaluating half: is it noticed, and is it called by its name?"""
    score, seen = found.shipped.score, found.groups.seen["lingering"]
    clean, values, named = score(found.groups.seen["clean"]), score(seen), score.named(seen)
    known, rows, names = found.material.memories, [], len(score.lingering) > 0
    for c in np.unique(seen.labels).tolist():
        own = seen.labels == c
        rows.append(
            {
                "class": c,
                "name": known.names[c],
                "prevalence": int(known.prevalence[c]),
                "mean_probability": float(known.mean_probability[c]),
                "images": int(own.sum()),
                "auroc_presence": auroc(values[own], clean),
                "flagged": share_above(values[own], found.shipped.file.detect_p),
                "named": float((named[own] == c).mean()) if names else math.nan,
            }
        )
    columns = ("class", "name", "prevalence", "mean_probability", "images", "auroc_presence", "flagged", "named")
    return Table.of(rows, columns=columns, folded=True)
