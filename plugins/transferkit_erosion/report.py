"""What the analyzer `erosion` says: metrics, verdict, small print, tables and pictures put together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from transferkit_correlated_patch import gate, shortcut_reliance

from transferkit.errors import InputError
from transferkit.report import Report
from transferkit_erosion import pictures, tables
from transferkit_erosion.arms import AFTER, BEFORE, Arms, answer_all, corruptions_of, remark
from transferkit_erosion.curves import Point, curve, ends
from transferkit_erosion.measure import Plasticity, forgetting, normalised_forgetting, paired_interval, plasticity
from transferkit_erosion.verdict import RELIED, verdict

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_erosion.analyzer import Erosion

NAN = math.nan


@dataclass(frozen=True)
class Loss:
    """What one arm forgot of the clean task, with the 95 % interval over images."""

    value: float
    low: float
    high: float
    normalised: float


@dataclass(frozen=True)
class Shortcut:
    """Whether an arm learned the mark, and how far it trusts it."""

    gate: float
    """Accuracy on images with the right mark minus accuracy on the same images without it."""
    reliance: float
    alone: float


@dataclass(frozen=True)
class Findings:
    """Everything measured."""

    arms: Arms
    chance: float
    losses: dict[str, Loss]
    shortcuts: dict[str, Shortcut]
    excess: tuple[float, float, float]
    """Forgetting of the stage beyond that of its control, with the interval."""
    ratios: dict[str, float]
    """{arm: share of its training images that bear the mark}."""
    curves: dict[str, list[Point]]
    plasticity: dict[str, Plasticity]
    """{stage: against scratch}."""


def report(session: AnalysisSession, options: Erosion) -> Report:
    """Everything `Erosion.analyze` returns."""
    arms = answer_all(session, options)
    found = measure(session, options, arms)
    drawn = pictures.draw(session, options, found)
    return Report(
        metrics=metrics(options, found),
        tables=tables.tables(found),
        figures=list(drawn),
        captions=drawn,
        verdict=verdict(options, found),
        notes=notes(session, options, found),
        gaps=arms.gaps,
    )


def measure(session: AnalysisSession, options: Erosion, arms: Arms) -> Findings:
    """Numbers from the answers and the records."""
    chance = 1 / len(arms.classes)
    losses = {arm: lost for arm in arms.answers if arm != BEFORE and (lost := _loss(arms, arm, chance)) is not None}
    stages = {name: name for name in (options.control, options.relearn, options.scratch, options.warm) if name}
    stages = {AFTER: str(session.stage_name), **stages}
    curves = {arm: points for arm, stage in stages.items() if (points := _curve(session, stage, options, arms))}
    return Findings(
        arms=arms,
        chance=chance,
        losses=losses,
        shortcuts={arm: _shortcut(arms, arm) for arm in arms.answers},
        excess=_excess(arms, options.control),
        ratios={arm: _ratio(session, arm) for arm in losses},
        curves=curves,
        plasticity=_plasticities(options, curves, arms.gaps),
    )


def _loss(arms: Arms, arm: str, chance: float) -> Loss | None:
    before, after = arms.on(BEFORE, "clean"), arms.on(arm, "clean")
    if before is None or after is None:
        return None
    low, high = paired_interval(before.right, after.right)
    normalised = normalised_forgetting(before.accuracy, after.accuracy, chance)
    return Loss(forgetting(before.accuracy, after.accuracy), low, high, normalised)


def _excess(arms: Arms, control: str | None) -> tuple[float, float, float]:
    kept = arms.on(control, "clean") if control is not None else None
    after = arms.on(AFTER, "clean")
    if kept is None or after is None:
        return NAN, NAN, NAN
    return (kept.accuracy - after.accuracy, *paired_interval(kept.right, after.right))


def _shortcut(arms: Arms, arm: str) -> Shortcut:
    conflict = arms.on(arm, "conflict")
    reliance = NAN
    if conflict is not None and arms.shift is not None:
        marked = torch.from_numpy(arms.shift.marked)
        predicted, labels = torch.from_numpy(conflict.predicted)[marked], torch.from_numpy(conflict.labels)[marked]
        reliance = shortcut_reliance(predicted, labels, arms.shift.by, len(arms.classes))
    gained = gate(arms.on_marked(arm, "matching", "matching"), arms.on_marked(arm, "clean", "matching"))
    return Shortcut(gained, reliance, arms.on_marked(arm, "alone", "alone"))


def _ratio(session: AnalysisSession, arm: str) -> float:
    """The share of training images that bear a mark; marks of different names are drawn independently."""
    assert session.recipe is not None
    data = session.recipe.stage(str(session.stage_name) if arm == AFTER else arm).dataset
    clean = 1.0
    for use in corruptions_of(session, data, "train"):
        clean *= 1 - float(use.options.get("ratio", 0))
    return round(1 - clean, 9)


def _curve(session: AnalysisSession, stage: str, options: Erosion, arms: Arms) -> list[Point]:
    try:
        points = curve(session, stage, options.clean)
    except InputError as error:
        remark(arms.gaps, f"{stage} was left out: {error}.")
        return []
    if not points:
        remark(
            arms.gaps,
            f"The stage {stage} was not evaluated on {options.clean} while it trained, so it has no curve: give it "
            f"evaluate: [{options.clean}].",
        )
    return points


def _plasticities(options: Erosion, curves: dict[str, list[Point]], gaps: list[str]) -> dict[str, Plasticity]:
    anew = ends(curves.get(options.scratch or "", []))
    found = {}
    for stage in (options.relearn, options.warm):
        if stage is None:
            continue
        if options.scratch is None:
            remark(gaps, f"Nothing to compare {stage} with: give scratch, a stage that learns the clean task anew.")
        again = ends(curves.get(stage, []))
        if not anew or not again:
            continue
        if [(point.epoch, point.step) for point in anew] != [(point.epoch, point.step) for point in again]:
            remark(
                gaps,
                f"{stage} and {options.scratch} were not evaluated after the same epochs and steps: their budgets "
                "differ, and neither curve says whether one learns worse.",
            )
            continue
        found[stage] = _plasticity(again, anew)
    return found


def _plasticity(again: list[Point], anew: list[Point]) -> Plasticity:
    found = plasticity([point.accuracy for point in again], [point.accuracy for point in anew])
    if math.isnan(found.epochs):
        return found
    return replace(found, epochs=float(again[int(found.epochs) - 1].epoch + 1))  # not every epoch is evaluated


def metrics(options: Erosion, found: Findings) -> dict[str, float]:
    """Every metric that `Erosion` declares; NaN for what was not measured."""
    lost = found.losses.get(AFTER, Loss(NAN, NAN, NAN, NAN))
    control = found.losses.get(options.control or "", Loss(NAN, NAN, NAN, NAN))
    shortcut = found.shortcuts.get(AFTER, Shortcut(NAN, NAN, NAN))
    nothing = Plasticity(NAN, NAN, NAN)
    again = found.plasticity.get(options.relearn or "", nothing)
    warm = found.plasticity.get(options.warm or "", nothing)
    before, after = found.arms.on(BEFORE, "clean"), found.arms.on(AFTER, "clean")
    return {
        "accuracy_before": before.accuracy if before is not None else NAN,
        "accuracy_after": after.accuracy if after is not None else NAN,
        "forgetting": lost.value,
        "forgetting_low": lost.low,
        "forgetting_high": lost.high,
        "normalised_forgetting": lost.normalised,
        "forgetting_control": control.value,
        "excess_forgetting": found.excess[0],
        "excess_forgetting_low": found.excess[1],
        "excess_forgetting_high": found.excess[2],
        "gate": shortcut.gate,
        "shortcut_reliance": shortcut.reliance,
        "shortcut_alone": shortcut.alone,
        "plasticity_gap": again.final_gap,
        "plasticity_mean_gap": again.mean_gap,
        "warm_start_gap": warm.final_gap,
        "epochs_to_95": again.epochs,
    }


def notes(session: AnalysisSession, options: Erosion, found: Findings) -> list[str]:
    """Counts, chance, what the intervals cover, and which numbers need the gate."""
    clean = found.arms.on(AFTER, "clean") or found.arms.on(BEFORE, "clean")
    images = len(clean.labels) if clean is not None else 0
    lines = [
        f"{images} clean images of {len(found.arms.classes)} classes; guessing gives {100 * found.chance:.1f} %.",
        "Intervals are 95 % over images, paired where two models are compared; they do not cover another training. "
        "Compare several seeds.",
        "Forgetting: accuracy on clean images before minus after. Normalised: divided by what was above chance before.",
        "Shortcut reliance: the share of images with another class's mark that are taken for that class. The gate is "
        "the accuracy that the right mark adds to the images that bear it. Where it is below "
        f"{100 * options.learned:.0f} points and the reliance below {100 * RELIED:.0f} %, the mark was not learned: "
        "what is forgotten has another cause.",
    ]
    if options.control is None:
        lines.append(
            "There is no control: without a stage of the same schedule on clean images, what ordinary retraining "
            "forgets is blamed on the mark."
        )
    if any(point.early for points in found.curves.values() for point in points):
        lines.append("Points within the first epochs are of a fixed part of the images, those at epochs' ends of all.")
    return lines
