"""What `erosion` finds: what every arm forgot, whether it learned the mark, and how well it learns again."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from transferkit.analysis import gate, shortcut_reliance
from transferkit.report import attempt
from transferkit.statistics import Estimate, ratio, share
from transferkit_erosion.accuracies import Plasticity, paired_forgetting, plasticity, share_of_ability_lost
from transferkit_erosion.arms import AFTER, BEFORE, Arms, Point, answer_all, corruptions_of, curve, ends

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_erosion.options import Options

NAN = math.nan
SAME = 0.005  # between a record and the kept model: another device may name an image or two otherwise
UNKNOWN = Estimate(NAN)


@dataclass(frozen=True)
class Loss:
    """What one arm forgot of the clean task."""

    forgetting: Estimate
    normalised: Estimate


@dataclass(frozen=True)
class Shortcut:
    """Whether an arm learned the mark, and how far it trusts it."""

    gate: Estimate
    """Accuracy on images with the right mark minus accuracy on the same images without it."""
    reliance: Estimate
    alone: Estimate

    @property
    def known(self) -> bool:
        """Whether anything is."""
        return not all(math.isnan(found.value) for found in (self.gate, self.reliance, self.alone))


@dataclass(frozen=True)
class Findings:
    """Everything measured."""

    arms: Arms
    chance: float
    losses: dict[str, Loss]
    shortcuts: dict[str, Shortcut]
    excess: Estimate
    """Forgetting of the stage beyond that of its control."""
    ratios: dict[str, float]
    """{arm: share of its training images that bear the mark}."""
    curves: dict[str, list[Point]]
    plasticity: dict[str, Plasticity]
    """{stage: against scratch}."""
    final: dict[str, Estimate]
    """{stage: the gap at the end, with an interval where the last weights were kept}."""
    gaps: list[str]


def measure(session: AnalysisSession, options: Options) -> Findings:
    """Every model over every test set, and the records. Raises InputError outside a recipe."""
    return judge(session, options, answer_all(session, options))


def judge(session: AnalysisSession, options: Options, arms: Arms) -> Findings:
    """Numbers from the answers and the records."""
    gaps = list(arms.gaps)
    losses = {arm: lost for arm in arms.answers if arm != BEFORE and (lost := _loss(arms, BEFORE, arm)) is not None}
    excess = _loss(arms, options.control or "", AFTER)
    stages = {name: name for name in (options.control, options.relearn, options.scratch, options.warm) if name}
    stages = {AFTER: str(session.stage_name), **stages}
    curves = {}
    for arm, stage in stages.items():
        points = attempt(gaps, f"{stage} was left out", partial(curve, session, stage, options.clean))
        if points:
            curves[arm] = points
        elif points is not None:
            gaps.append(
                f"The stage {stage} was not evaluated on {options.clean} while it trained, so it has no curve: give "
                f"it evaluate: [{options.clean}]."
            )
    learned = _plasticities(options, curves, gaps)
    return Findings(
        arms=arms,
        chance=1 / len(arms.classes),
        losses=losses,
        shortcuts={arm: _shortcut(arms, arm) for arm in arms.answers},
        excess=excess.forgetting if excess is not None else UNKNOWN,
        ratios={arm: _ratio(session, arm) for arm in losses},
        curves=curves,
        plasticity=learned,
        final={stage: _final(arms, options, stage, found.final_gap) for stage, found in learned.items()},
        gaps=list(dict.fromkeys(gaps)),
    )


def _loss(arms: Arms, first: str, then: str) -> Loss | None:
    """What the arm `then` has of the clean task less than the arm `first`."""
    before, after = arms.on(first, "clean"), arms.on(then, "clean")
    if before is None or after is None:
        return None
    pair = before.right, after.right, before.labels
    return Loss(paired_forgetting(*pair), share_of_ability_lost(*pair, 1 / len(arms.classes)))


def _shortcut(arms: Arms, arm: str) -> Shortcut:
    conflict = arms.on(arm, "conflict")
    reliance = gained = UNKNOWN
    if conflict is not None and arms.shift is not None:
        classes = len(arms.classes)
        predicted, labels = conflict.predicted[arms.shift.marked], conflict.labels[arms.shift.marked]
        value = shortcut_reliance(torch.from_numpy(predicted), torch.from_numpy(labels), arms.shift.by, classes)
        reliance = replace(share(predicted == (labels + arms.shift.by) % classes, labels), value=value)
    marked, plain = (arms.on_marked(arm, test, "matching") for test in ("matching", "clean"))
    if marked is not None and plain is not None:
        value = gate(marked.accuracy.value, plain.accuracy.value)
        gained = replace(
            ratio(marked.right.astype(float) - plain.right, np.ones(len(plain.right)), plain.labels), value=value
        )
    alone = arms.on_marked(arm, "alone", "alone")
    return Shortcut(gained, reliance, UNKNOWN if alone is None else alone.accuracy)


def _final(arms: Arms, options: Options, stage: str, gap: float) -> Estimate:
    """The gap at the end of the curves, with the paired interval of the kept models where it is of the same images."""
    anew, again = arms.learners.get(options.scratch or ""), arms.learners.get(stage)
    if anew is None or again is None:
        return Estimate(gap)
    found = paired_forgetting(anew.right, again.right, anew.labels)
    if abs(found.value - gap) > SAME:
        return Estimate(gap)
    return replace(found, value=gap)


def _ratio(session: AnalysisSession, arm: str) -> float:
    """The share of training images that bear a mark; marks of different names are drawn independently."""
    assert session.recipe is not None
    data = session.recipe.stage(str(session.stage_name) if arm == AFTER else arm).dataset
    clean = 1.0
    for use in corruptions_of(session, data, "train"):
        clean *= 1 - float(use.options.get("ratio", 0))
    return round(1 - clean, 9)


def _plasticities(options: Options, curves: dict[str, list[Point]], gaps: list[str]) -> dict[str, Plasticity]:
    anew = ends(curves.get(options.scratch or "", []))
    found: dict[str, Plasticity] = {}
    for stage in (options.relearn, options.warm):
        if stage is None:
            continue
        if options.scratch is None:
            gaps.append(f"Nothing to compare {stage} with: give scratch, a stage that learns the clean task anew.")
        again = ends(curves.get(stage, []))
        if not anew or not again:
            continue
        if [(point.epoch, point.step) for point in anew] != [(point.epoch, point.step) for point in again]:
            gaps.append(
                f"{stage} and {options.scratch} were not evaluated after the same epochs and steps: their budgets "
                "differ, and neither curve says whether one learns worse."
            )
            continue
        result = plasticity([point.accuracy for point in again], [point.accuracy for point in anew])
        if not math.isnan(result.epochs):  # it counts evaluations, and not every epoch has one
            result = replace(result, epochs=float(again[int(result.epochs) - 1].epoch + 1))
        found[stage] = result
    return found
