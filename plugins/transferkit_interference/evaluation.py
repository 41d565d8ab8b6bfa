"""Three questions, kept apart, for every detector: is a source memory there, does it do harm, is the alarm specific?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit_interference.detectors import Detector
from transferkit_interference.material import Material, Seen
from transferkit_interference.pasted import KINDS, Pasted
from transferkit_interference.ranks import (
    NOTHING,
    Interval,
    accuracy_at_coverage,
    aupr,
    aurc,
    auroc,
    auroc_intervals,
    fpr_at_tpr,
    share_above,
)
from transferkit_interference.threshold import conformal_threshold

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.analyzer import InterferenceDetector

COVERAGES = (0.8, 0.9, 0.95)
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Groups:
    """The images that are told apart. `wrong` belongs to composites and clean images, in that order."""

    seen: dict[str, Seen]
    """lingering, shared, calibration, clean, composites, colour, other."""
    wrong: NDArray[np.bool_]
    """(n,) whether M^t is wrong about a composite or a clean image; empty without composites."""

    def scores(self, detector: Detector) -> Scores:
        """Of every group."""
        return {name: detector.score(seen) if len(seen) else np.zeros(0) for name, seen in self.seen.items()}


@dataclass(frozen=True)
class Row:
    """What one detector is worth. NaN for what could not be measured."""

    detector: Detector
    presence: Interval
    """AUROC: unseen source images of lingering classes against clean target images."""
    aupr: float
    fpr95: float
    threshold: float
    tpr: float
    """Share of these source images above the threshold that is set on the calibration images."""
    false_alarms: float
    composites: Interval
    """AUROC: composites against clean target images."""
    against_colour: float
    against_other: float
    aurc: float
    accuracy: tuple[float, ...]
    """Of M^t at each of `COVERAGES`, when the detector orders composites and clean images."""
    specificity: Interval
    """AUROC: source images of lingering classes against those of classes that are common in the target."""


def groups(material: Material, pasted: Pasted) -> Groups:
    """Only images that nothing was fitted on, apart from `calibration`."""
    seen = {
        "lingering": material.source.at(material.lingering),
        "shared": material.source.at(material.shared),
        "calibration": material.clean.at(material.calibrate),
        "clean": material.clean.at(material.judge),
        **{kind: pasted.seen[kind] for kind in KINDS},
    }
    both = [seen["composites"], seen["clean"]] if len(seen["composites"]) else []
    return Groups(seen, np.concatenate([_wrong(material, one) for one in both]) if both else np.zeros(0, dtype=bool))


def _wrong(material: Material, seen: Seen) -> NDArray[np.bool_]:
    answers = material.own.logits(seen.target).argmax(dim=1).numpy()
    return np.asarray(answers != seen.labels)


def evaluate(
    session: AnalysisSession, options: InterferenceDetector, found: Groups, detectors: Sequence[Detector]
) -> list[Row]:
    """One row per detector, all with the same resamples."""
    scores = [found.scores(detector) for detector in detectors]

    def intervals(positive: str, negative: str) -> list[Interval]:
        if not len(scores[0][positive]) or not len(scores[0][negative]):
            return [NOTHING] * len(scores)
        pairs = [(one[positive], one[negative]) for one in scores]
        return auroc_intervals(pairs, options.bootstrap, session.rng("interference", positive, negative))

    columns = zip(
        detectors,
        scores,
        intervals("lingering", "clean"),
        intervals("composites", "clean"),
        intervals("lingering", "shared"),
        strict=True,
    )
    return [_row(options, found, *column) for column in columns]


def _row(
    options: InterferenceDetector,
    found: Groups,
    detector: Detector,
    scores: Scores,
    presence: Interval,
    composites: Interval,
    specificity: Interval,
) -> Row:
    threshold = conformal_threshold(torch.from_numpy(scores["calibration"]), options.alpha, options.confidence)
    usable = math.isfinite(threshold)
    ordered = np.concatenate([scores["composites"], scores["clean"]]) if len(found.wrong) else np.zeros(0)
    return Row(
        detector=detector,
        presence=presence,
        aupr=aupr(scores["lingering"], scores["clean"]),
        fpr95=fpr_at_tpr(scores["lingering"], scores["clean"]),
        threshold=threshold,
        tpr=share_above(scores["lingering"], threshold) if usable else math.nan,
        false_alarms=share_above(scores["clean"], threshold) if usable else math.nan,
        composites=composites,
        against_colour=auroc(scores["composites"], scores["colour"]),
        against_other=auroc(scores["composites"], scores["other"]),
        aurc=aurc(ordered, found.wrong),
        accuracy=tuple(accuracy_at_coverage(ordered, found.wrong, share) for share in COVERAGES),
        specificity=specificity,
    )
