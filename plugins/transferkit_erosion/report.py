"""What `erosion` says of what it found: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferkit.report import Report, Table
from transferkit_erosion.accuracies import Plasticity
from transferkit_erosion.arms import AFTER, BEFORE
from transferkit_erosion.measure import NAN, UNKNOWN, Findings, Loss, Shortcut, measure
from transferkit_erosion.pictures import draw
from transferkit_erosion.verdict import notes, verdict

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.statistics import Estimate
    from transferkit_erosion.options import Options


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Erosion.analyze` returns."""
    found = measure(session, options)
    return Report(
        metrics=metrics(options, found),
        tables=tables(found),
        captions=draw(session, options, found),
        verdict=verdict(options, found),
        notes=notes(options, found),
        gaps=found.gaps,
    )


def metrics(options: Options, found: Findings) -> dict[str, float | Estimate]:
    """Every metric that the analyzer declares; NaN for what was not measured."""
    lost = found.losses.get(AFTER, Loss(UNKNOWN, UNKNOWN))
    control = found.losses.get(options.control or "", Loss(UNKNOWN, UNKNOWN))
    shortcut = found.shortcuts.get(AFTER, Shortcut(UNKNOWN, UNKNOWN, UNKNOWN))
    nothing = Plasticity(NAN, NAN, NAN)
    again = found.plasticity.get(options.relearn or "", nothing)
    before, after = found.arms.on(BEFORE, "clean"), found.arms.on(AFTER, "clean")
    return {
        "accuracy_before": UNKNOWN if before is None else before.accuracy,
        "accuracy_after": UNKNOWN if after is None else after.accuracy,
        "forgetting": lost.forgetting,
        "normalised_forgetting": lost.normalised,
        "forgetting_control": control.forgetting,
        "excess_forgetting": found.excess,
        "gate": shortcut.gate,
        "shortcut_reliance": shortcut.reliance,
        "shortcut_alone": shortcut.alone,
        "plasticity_gap": found.final.get(options.relearn or "", UNKNOWN),
        "plasticity_mean_gap": again.mean_gap,
        "warm_start_gap": found.final.get(options.warm or "", UNKNOWN),
        "epochs_to_95": again.epochs,
    }


def tables(found: Findings) -> dict[str, Table]:
    """Those that have rows."""
    rows: dict[str, list[dict[str, Any]]] = {
        "accuracy": [
            {"arm": arm, "test_set": test, "images": len(answers.labels), **answers.accuracy.columns("accuracy")}
            for arm, tests in found.arms.answers.items()
            for test, answers in tests.items()
        ],
        "forgetting": [
            {
                "arm": arm,
                "ratio": found.ratios.get(arm),
                **loss.forgetting.columns("forgetting"),
                **loss.normalised.columns("normalised_forgetting", "normalised_low", "normalised_high"),
            }
            for arm, loss in found.losses.items()
        ],
        "shortcut": [
            {
                "arm": arm,
                **item.gate.columns("gate", "gate_low", "gate_high"),
                **item.reliance.columns("shortcut_reliance", "reliance_low", "reliance_high"),
                **item.alone.columns("accuracy_mark_alone", "alone_low", "alone_high"),
            }
            for arm, item in found.shortcuts.items()
            if item.known
        ],
        "plasticity": [
            {
                "stage": stage,
                **found.final[stage].columns("final_gap", "final_low", "final_high"),
                "mean_gap": item.mean_gap,
                "epochs_to_95_percent_of_scratch": item.epochs,
            }
            for stage, item in found.plasticity.items()
        ],
    }
    return {name: Table.of(some) for name, some in rows.items() if some}
