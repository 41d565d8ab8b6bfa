"""What the analyzer `interference` says: detector, evaluation, tables, pictures and small print put together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from transferkit_lingering.wording import count

from transferkit.report import Report
from transferkit_interference import pictures, tables
from transferkit_interference.detectors import all_detectors, eq5_detectors, fit_map, heads_of
from transferkit_interference.evaluation import Groups, Row, evaluate, groups
from transferkit_interference.fitting import Shipped, as_file, fit, refuse
from transferkit_interference.material import Material, collect
from transferkit_interference.pasted import paste
from transferkit_interference.refit import LinearMap
from transferkit_interference.shipping import ship
from transferkit_interference.verdict import verdict

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.analyzer import InterferenceDetector


def report(session: AnalysisSession, options: InterferenceDetector) -> Report:
    """Everything `InterferenceDetector.analyze` returns."""
    refuse(session, options)
    material = collect(session, options)
    if material is None:
        return _nothing(options)
    shipped = fit(session, options, material)
    gaps: list[str] = []
    found = groups(material, paste(session, material, options, gaps))
    half = fit_map(material, session.seed, material.fit, options.fit_images, options.ridge)
    ours = eq5_detectors(heads_of(material, half), material.half.lingering)
    rows = evaluate(session, options, found, all_detectors(material, ours, options.neighbours))
    place = list(ours).index((options.head, options.reduction))
    chosen, score = rows[place], ours[options.head, options.reduction]
    threshold = options.detect_p if options.detect_p is not None else chosen.threshold
    drawn = pictures.draw(session, found, score, threshold, rows)
    written = ship(session, options, as_file(session, options, material, shipped), shipped.score.head)
    all_tables = {
        "comparison": tables.comparison(rows),
        "classes": tables.per_class(material, found, score, threshold),
        "watched": tables.watched(material),
    }
    if options.attempts:
        from transferkit_interference.attempts import attempts

        all_tables["attempts"] = attempts(session, options, material, found, rows)
    seen = found.seen["lingering"]
    named = float((score.named(seen) == seen.labels).mean()) if len(seen) else math.nan
    return Report(
        metrics=metrics(shipped, chosen, named, material),
        tables=all_tables,
        figures=list(drawn),
        captions=drawn,
        verdict=verdict(shipped, chosen, rows, len(seen)),
        notes=[*written, *notes(session, options, material, shipped, half, found, named)],
        gaps=gaps + _gaps(found),
    )


def _nothing(options: InterferenceDetector) -> Report:
    reason = "No source class lingers in this model (see the analysis lingering), so there is nothing to detect."
    return Report(
        metrics=dict.fromkeys(options.metrics, math.nan) | {"lingering": 0.0},
        verdict=reason,
        gaps=["No detector was made: no class lingers."],
    )


def metrics(shipped: Shipped, chosen: Row, named: float, material: Material) -> dict[str, float]:
    """Every metric the analyzer declares."""
    return {
        "detect_p": shipped.detect_p,
        "false_alarm_rate": shipped.false_alarms.value,
        "false_alarm_low": shipped.false_alarms.low,
        "false_alarm_high": shipped.false_alarms.high,
        "auroc_presence": chosen.presence.value,
        "aupr_presence": chosen.aupr,
        "fpr95_presence": chosen.fpr95,
        "tpr_presence": chosen.tpr,
        "auroc_composites": chosen.composites.value,
        "aurc_harm": chosen.aurc,
        "specificity": chosen.specificity.value,
        "named": named,
        "lingering": float(len(material.memories.lingering)),
        "calibration_size": float(len(shipped.calibration)),
    }


def notes(
    session: AnalysisSession,
    options: InterferenceDetector,
    material: Material,
    shipped: Shipped,
    half: LinearMap,
    found: Groups,
    named: float,
) -> list[str]:
    """Counts, splits, what the threshold promises, seeds."""
    split, sizes = material.clean_split, {name: len(seen) for name, seen in found.seen.items()}
    lines = [
        shipped.text,
        f"Clean images: {sizes['calibration']} of the {split} split calibrate, the other {sizes['clean']} judge, a "
        "keyed choice. The fine-tuning's best epoch was chosen on the val split, which can make the calibration a "
        "little optimistic.",
        f"Realised false alarms: {_percent(shipped.false_alarms.value)}, 95 % interval "
        f"{_percent(shipped.false_alarms.low)} to {_percent(shipped.false_alarms.high)}.",
        f"Evaluated is a detector whose {count(len(material.half.lingering), 'class')} were chosen, and whose map was "
        f"fitted, on {int(material.fit.sum())} source images; the other {int(material.hold.sum())} judge it. The one "
        f"that is written uses all {len(material.source)}.",
        f"Map: λ {half.lam:.4g} on standardised features of {count(half.images, 'image')} (target training images "
        f"included, no labels); leave-one-out it explains {_percent(half.explained)} of the source features' variance.",
        f"Groups: {sizes['lingering']} source images of lingering classes, {sizes['shared']} of classes common in the "
        f"target, {sizes['composites']} composites and as many of each control.",
        "TPR and false alarms in the comparison: every detector with a threshold of its own from the calibration "
        f"images (alpha {options.alpha:g}).",
    ]
    if math.isfinite(named):
        lines.append(f"The class that is named is the right one for {_percent(named)} of the unseen source images.")
    if len(found.wrong):
        lines.append(
            f"Harm: {int(found.wrong.sum())} of {len(found.wrong)} composites and clean images are answered wrongly "
            f"({_percent(float(found.wrong.mean()))}, the AURC of a detector that knows nothing)."
        )
    if options.bootstrap:
        lines.append(f"Intervals of AUROC: 95 %, {options.bootstrap} bootstrap resamples, seed {session.seed}.")
    if session.source_head_is_probe:
        lines.append("The source model has no classifier; a ridge regression on its features stands in for it.")
    return lines


def _gaps(found: Groups) -> list[str]:
    lines = []
    if not len(found.seen["lingering"]):
        lines.append("No lingering class has a second source image to evaluate on: presence is not measured.")
    if not len(found.seen["shared"]):
        lines.append("No source image shows a class that is common in the target: specificity is not measured.")
    if not len(found.seen["clean"]):
        lines.append("No clean image is left to judge with: take a smaller share for the calibration.")
    return lines


def _percent(share: float) -> str:
    return "unknown" if not np.isfinite(share) else f"{100 * share:.1f} %"
