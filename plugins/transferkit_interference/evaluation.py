"""Three questions, kept apart, for every detector: is a source memory there, does it do harm, is the alarm specific?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.statistics import Estimate, share
from transferkit_interference import ranks
from transferkit_interference.detectors import Detector
from transferkit_interference.material import Material, Seen
from transferkit_interference.threshold import conformal_threshold

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.options import Options
    from transferkit_interference.shipping import Shipped

COVERAGES = (0.8, 0.9, 0.95)
AUROCS = {"presence": ("lingering", "clean"), "composites": ("composites", "clean"),
          "specificity": ("lingering", "shared")}  # fmt: skip
"""{question: (the positives, the negatives)}; the fourth question is `harm`, by the AURC."""
Scores = dict[str, NDArray[np.float64]]
Verdicts = Mapping[str, ranks.Judged]


@dataclass(frozen=True)
class Groups:
    """The images that are told apart. `wrong` belongs to composites and clean images, in that order.

    `halves` of the clean images judge each other's thresholds where all of them calibrate.
    """

    seen: dict[str, Seen]
    """lingering, shared, calibration, clean, composites, colour, other."""
    wrong: NDArray[np.bool_]
    """(n,) whether M^t is wrong about a composite or a clean image; empty without composites."""
    halves: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None

    def units(self, name: str) -> NDArray[np.int64]:
        """(n,) what was drawn: the source class behind each image, and of clean target images the image itself."""
        seen = self.seen[name]
        if seen.background is not None:
            return seen.background
        return np.arange(len(seen)) if name == "clean" else seen.labels

    def scores(self, detector: Detector) -> Scores:
        """Of every group."""
        return {name: detector.score(seen) if len(seen) else np.zeros(0) for name, seen in self.seen.items()}

    def false_alarms(self, clean: NDArray[np.float64], fixed: float | None, options: Options) -> Estimate:
        """The share of `clean` scores above a threshold that they had no part in; NaN without any.

        That threshold is `fixed`; where it is None, each half is judged by that of the other.
        """
        if fixed is not None or self.halves is None:
            threshold = math.inf if fixed is None else fixed
            return share(clean > threshold if math.isfinite(threshold) else np.zeros(0))
        flags = []
        for own, other in (self.halves, self.halves[::-1]):
            threshold = conformal_threshold(torch.from_numpy(clean[own]), options.alpha, options.confidence)
            if not math.isfinite(threshold):
                return share(np.zeros(0))
            flags.append(clean[other] > threshold)
        return share(np.concatenate(flags))


@dataclass(frozen=True)
class Row:
    """What one detector is worth. NaN for what could not be measured."""

    detector: Detector
    judged: Verdicts
    """{question: AUROC, or AURC of harm}, by units that all detectors share."""
    aupr: float
    fpr95: float
    threshold: float
    tpr: Estimate
    """Share of these source images above the threshold that is set on the calibration images, by classes."""
    false_alarms: Estimate
    against_colour: float
    against_other: float
    accuracy: tuple[float, ...]
    """Of M^t at each of `COVERAGES`, when the detector orders composites and clean images."""

    @property
    def presence(self) -> Estimate:
        """AUROC: unseen source images of lingering classes against clean target images."""
        return self.judged["presence"].share()

    @property
    def composites(self) -> Estimate:
        """AUROC: composites against clean target images."""
        return self.judged["composites"].share()

    @property
    def specificity(self) -> Estimate:
        """AUROC: source images of lingering classes against those of classes that are common in the target."""
        return self.judged["specificity"].share()

    @property
    def aurc(self) -> Estimate:
        """The risk of trusting composites and clean images with a low score."""
        return self.judged["harm"].gap().within(0, 1)


@dataclass(frozen=True)
class Rival:
    """Another detector of at most the same cost, on one question. `gain`: how much better it is, on the same images.

    The interval of the gain holds for all rivals and questions together (Bonferroni), so that whichever of them is
    named, it is not the luckiest of many.
    """

    question: str
    detector: Detector
    theirs: float
    ours: float
    gain: Estimate


def groups(material: Material, pasted: dict[str, Seen]) -> Groups:
    """Only images that nothing was fitted on, apart from `calibration`."""
    seen = {
        "lingering": material.source.at(material.lingering),
        "shared": material.source.at(material.shared),
        "calibration": material.clean.at(material.calibrate),
        "clean": material.clean.at(material.judge),
        **pasted,
    }
    both = [seen["composites"], seen["clean"]] if len(seen["composites"]) else []
    wrong = np.concatenate([np.zeros(0, dtype=bool), *(~material.right(one) for one in both)])
    return Groups(seen, wrong, material.halves)


def evaluate(
    session: AnalysisSession, options: Options, found: Groups, detectors: Sequence[Detector], shipped: Shipped
) -> list[Row]:
    """One row per detector, all on the same images, and judged by the same units; the shipped one at its threshold."""
    written = {id(shipped.score): shipped.file.detect_p}
    scores = [found.scores(detector) for detector in detectors]
    units = {name: found.units(name) for name in ("lingering", "shared", "composites", "clean")}
    ordered = [np.concatenate([one["composites"], one["clean"]])[: len(found.wrong)] for one in scores]
    drawn = [units["composites"], units["clean"]]
    harm = ranks.judged_aurc(ordered, found.wrong, drawn, options.bootstrap, session.rng("interference", "harm"))
    judged = [
        {question: ranks.judged_auroc(one[p], one[n], units[p], units[n]) for question, (p, n) in AUROCS.items()}
        for one in scores
    ]
    return [
        _row(options, found, detector, one, {**of, "harm": risk}, order, written.get(id(detector.score)))
        for detector, one, of, risk, order in zip(detectors, scores, judged, harm, ordered, strict=True)
    ]


def _row(
    options: Options,
    found: Groups,
    detector: Detector,
    scores: Scores,
    judged: Verdicts,
    ordered: NDArray[np.float64],
    threshold: float | None,
) -> Row:
    given = options.detect_p if threshold is not None else None
    if threshold is None:
        threshold = conformal_threshold(torch.from_numpy(scores["calibration"]), options.alpha, options.confidence)
    flags = scores["lingering"] > threshold if math.isfinite(threshold) else np.zeros(0)
    return Row(
        detector=detector,
        judged=judged,
        aupr=ranks.aupr(scores["lingering"], scores["clean"]),
        fpr95=ranks.fpr_at_tpr(scores["lingering"], scores["clean"]),
        threshold=threshold,
        tpr=share(flags, found.units("lingering")[: len(flags)]),
        false_alarms=found.false_alarms(scores["clean"], threshold if found.halves is None else given, options),
        against_colour=ranks.auroc(scores["composites"], scores["colour"]),
        against_other=ranks.auroc(scores["composites"], scores["other"]),
        accuracy=tuple(ranks.accuracy_at_coverage(ordered, found.wrong, part) for part in COVERAGES),
    )


def rivals(chosen: Row, rows: Sequence[Row]) -> list[Rival]:
    """Every other detector of at most as many passes, on every question that both have an answer to."""
    cheap = [row for row in rows if row is not chosen and row.detector.passes <= chosen.detector.passes]
    return compared(chosen.judged, [(row.detector, row.judged) for row in cheap])


def compared(mine: Verdicts, others: Sequence[tuple[Detector, Verdicts]]) -> list[Rival]:
    """Each of the others against one, {question: its answer}, on the same images."""
    pairs = [
        (question, detector, theirs[question], ours, -1 if question == "harm" else 1)
        for question, ours in mine.items()
        for detector, theirs in others
        if math.isfinite(theirs[question].value) and math.isfinite(ours.value)
    ]
    confidence = 1 - 0.05 / max(len(pairs), 1)
    return [
        Rival(
            question=question,
            detector=detector,
            theirs=theirs.value,
            ours=ours.value,
            gain=(theirs.beyond(ours) if sign > 0 else ours.beyond(theirs)).gap(confidence),
        )
        for question, detector, theirs, ours, sign in pairs
    ]


def clearly_better(found: Sequence[Rival]) -> list[Rival]:
    """What the best of them wins: one that is certainly better at something and certainly worse at nothing.

    Of several the one that wins most questions, then by most. Empty where there is none.
    """
    of: dict[str, list[Rival]] = {}
    for rival in found:
        of.setdefault(rival.detector.name, []).append(rival)
    won = [
        [one for one in theirs if one.gain.above(0)]
        for theirs in of.values()
        if not any(one.gain.below(0) for one in theirs)
    ]
    return max(won, key=lambda wins: (len(wins), sum(one.gain.value for one in wins)), default=[])
