"""What `attraction` finds: whether the mark was learned, and what every model answers with and without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.analysis import AnalysisSession, exposures, gate
from transferkit.errors import InputError, did_you_mean
from transferkit.model import TransferModel
from transferkit.report import attempt
from transferkit.statistics import Estimate, jackknife, share, sums_by
from transferkit_tennis_ball.learned import paired_difference
from transferkit_tennis_ball.options import Options

SOURCE = "source model"
CONSTANT = 0.95
UNKNOWN = Estimate(math.nan)


@dataclass(frozen=True)
class Findings:
    """The mark, and every model on target images with and without it."""

    mark: Mark
    stage: str
    arms: dict[str, Arm]
    """By name: the source model, the analysis's own stage, further ones."""
    classes: int | None
    """Of the shared head; None where source and target have different numbers of classes."""
    gaps: list[str]
    versus: list[Versus]
    """Every further stage against the analysis's own."""

    @property
    def source(self) -> Arm | None:
        """M^s."""
        return self.arms.get(SOURCE)

    @property
    def own(self) -> Arm | None:
        """The model of the analysis's own stage."""
        return self.arms.get(self.stage)

    @property
    def tuned(self) -> list[Arm]:
        """All but M^s."""
        return [arm for name, arm in self.arms.items() if name != SOURCE]


@dataclass(frozen=True)
class Mark:
    """Whether M^s learned the mark: recall of the treated class with and without it."""

    recall_marked: float
    recall_clean: float
    images: int
    gate: Estimate
    """How much recall the mark adds, over images of the treated class; NaN without any."""


@dataclass(frozen=True)
class Arm:
    """One model on the target images. Attraction leaves out the target class that has the treated label.

    Intervals are over the target's classes: what a training does to a class it does to all of its images.
    """

    name: str
    attraction_marked: Estimate
    attraction_clean: Estimate
    added: Estimate
    """Attraction with the mark minus that without."""
    images: int
    """From which the attraction is."""
    accuracy_marked: Estimate
    accuracy_clean: Estimate
    largest: tuple[str, float]
    """The class predicted most often on marked images, and its share."""
    classes: int
    """That it chooses from."""
    target_images: float
    source_images: float
    labels: NDArray[np.int64]
    """(n,) of the marked images."""
    predicted: NDArray[np.int64]
    """(n,) on them."""

    @property
    def constant(self) -> bool:
        """Whether it gives nearly one answer to everything."""
        return self.largest[1] > CONSTANT

    @property
    def guesses(self) -> bool:
        """Whether its accuracy with the mark cannot be told from guessing."""
        return not self.accuracy_marked.above(1 / self.classes)


@dataclass(frozen=True)
class Versus:
    """A further stage minus the analysis's own, on the same marked images; over classes, all comparisons at once."""

    arm: Arm
    own: Arm
    accuracy: Estimate
    attraction: Estimate

    @property
    def equal(self) -> bool:
        """Whether both are known to have been trained on as many target images."""
        return self.arm.target_images == self.own.target_images


def measure(session: AnalysisSession, options: Options) -> Findings:
    """The gate on M^s, then every arm. Raises InputError in an audit, which has no stages, and for unknown names."""
    if session.recipe is None or session.stage_name is None:
        raise InputError("attraction compares the stages of a recipe; an audit of single models has none")
    for data in (options.source_clean, options.source_marked, options.target_clean, options.target_marked):
        if data not in session.recipe.datasets:
            hint = did_you_mean(data, session.recipe.datasets)
            raise InputError(f'attraction: the recipe has no data set called "{data}"; {hint}')
    gaps: list[str] = []
    mark = measure_mark(session, options)
    if math.isnan(mark.gate.value):
        gaps.append(f"There are no source images of {options.treated}: whether the mark was learned is unknown.")
    source_classes, target_classes = session.model("source").classes, session.model("target").classes
    shared = len(target_classes) == len(source_classes)
    if not shared:
        gaps.append(
            f"The target has {len(target_classes)} classes and the source {len(source_classes)}: no target class has "
            "the treated label, so attraction is not defined; see the most predicted class instead."
        )
    label, stage = treated_label(source_classes, options.treated), session.stage_name
    names = dict.fromkeys([*([SOURCE] if shared else []), stage, *options.arms])
    arms = {
        name: attempt(gaps, f"{name} was left out", partial(measure_arm, session, options, name, label))
        for name in names
    }
    known = {name: arm for name, arm in arms.items() if arm is not None}
    own, others = known.get(stage), [arm for name, arm in known.items() if name not in (SOURCE, stage)]
    versus = [] if own is None else [compare(arm, own, label, len(others), shared=shared) for arm in others]
    return Findings(mark, stage, known, len(source_classes) if shared else None, gaps, versus)


def measure_mark(session: AnalysisSession, options: Options) -> Mark:
    """The gate. Raises InputError when the treated class is not one of the source's, or there is no source model."""
    label = treated_label(session.model("source").classes, options.treated, "source model")
    said, ids = [], []
    for data in (options.source_marked, options.source_clean):
        given = session.predictions("source", data)
        chosen = given.labels == treated_label(given.classes, options.treated, "source images")
        said.append((given.predicted()[chosen] == label).numpy())
        ids.append([name for name, one in zip(given.ids, chosen.tolist(), strict=True) if one])
    if not len(said[0]) or not len(said[1]):
        return Mark(math.nan, math.nan, len(said[1]), Estimate(math.nan))
    recalls = [float(one.mean()) for one in said]
    between = paired_difference(*said, paired=ids[0] == ids[1])
    found = Estimate(gate(*recalls), between.low, between.high, between.n)
    return Mark(recalls[0], recalls[1], len(said[1]), found)


def treated_label(classes: Sequence[str], treated: str, whose: str = "source model") -> int:
    """The index of the treated class. Raises InputError where there is none of that name."""
    if treated not in classes:
        hint = did_you_mean(treated, classes)
        raise InputError(f'attraction: the {whose} has no class called "{treated}"; {hint}')
    return list(classes).index(treated)


def measure_arm(session: AnalysisSession, options: Options, name: str, label: int) -> Arm:
    """One model: M^s, the analysis's own stage, or another stage.

    Attraction is NaN for a head without the treated label, which is one of another size than the source's.
    Raises InputError for a stage without a model, or one that takes other inputs.
    """
    model: str | TransferModel = {SOURCE: "source", session.stage_name: "target"}.get(name) or session.stage_model(name)
    if not isinstance(model, str) and model.preprocessing != session.model("target").preprocessing:
        raise InputError(f"its model takes other inputs than that of {session.stage_name}; compare like with like")
    marked = session.predictions(model, options.target_marked)
    clean = session.predictions(model, options.target_clean)
    classes = marked.head.classes
    if name != SOURCE and list(classes) != list(marked.classes):
        raise InputError(f"its classes are not those of {options.target_marked}")
    shared = len(classes) == len(session.model("source").classes)
    predicted, answers = marked.predicted(), clean.predicted()
    others, theirs = marked.labels != label, clean.labels != label
    counts = torch.bincount(predicted, minlength=len(classes))
    most = int(counts.argmax())
    target_images, source_images = (math.nan, math.nan) if name == SOURCE else exposures(session, name)
    ours, own = [
        (side.labels[keep].numpy(), (said[keep] == label).numpy())
        for side, said, keep in ((marked, predicted, others), (clean, answers, theirs))
    ]
    return Arm(
        name=name,
        attraction_marked=share(ours[1], ours[0]) if shared else UNKNOWN,
        attraction_clean=share(own[1], own[0]) if shared else UNKNOWN,
        added=difference(ours, own) if shared else UNKNOWN,
        images=int(others.sum()),
        accuracy_marked=share((predicted == marked.labels).numpy(), marked.labels.numpy()),
        accuracy_clean=share((answers == clean.labels).numpy(), clean.labels.numpy()),
        largest=(classes[most], float(counts[most]) / len(predicted)),
        target_images=target_images,
        source_images=source_images,
        classes=len(classes),
        labels=marked.labels.numpy(),
        predicted=predicted.numpy(),
    )


def compare(arm: Arm, own: Arm, label: int, arms: int, *, shared: bool) -> Versus:
    """An arm minus the analysis's own, by the same images; Bonferroni's correction for the comparisons of all arms."""
    confidence = 1 - 0.05 / (arms * (2 if shared else 1))
    labels, others = own.labels, own.labels != label
    right: list[Flags] = []
    drawn: list[Flags] = []
    for one in (arm, own):
        right.append((labels, one.predicted == labels))
        drawn.append((labels[others], one.predicted[others] == label))
    attraction = difference(drawn[0], drawn[1], confidence) if shared else UNKNOWN
    return Versus(arm, own, difference(right[0], right[1], confidence), attraction)


Flags = tuple[NDArray[np.int64], NDArray[np.bool_]]


def difference(one: Flags, other: Flags, confidence: float = 0.95) -> Estimate:
    """The share of flags of (labels, flags) minus that of others, the same images or not, over their classes."""
    labels, flags = (np.concatenate(side) for side in zip(one, other, strict=True))
    first = np.arange(len(labels)) < len(one[0])
    sums = sums_by(labels, first & flags, first, ~first & flags, ~first)
    gap = jackknife(lambda total: total[0] / total[1] - total[2] / total[3], sums, sums[1] + sums[3], confidence)
    return gap.within(-1, 1)
