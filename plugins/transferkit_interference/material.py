"""What the detector is made of and judged on: features of both models for every group of images, and the splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transferkit_lingering.memory import Evidence, Memories, configured, gather, judge

from transferkit.errors import InputError
from transferkit.model import SourceHead
from transferkit_interference.splits import Mask, calibration_share, source_halves

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.analysis.predictions import Predictions
    from transferkit_interference.analyzer import InterferenceDetector


@dataclass(frozen=True)
class Seen:
    """What both models made of the same n images."""

    target: Tensor
    """(n, d_t) features of M^t."""
    source: Tensor
    """(n, d_s) features of M^s."""
    labels: NDArray[np.int64]
    """(n,) classes of the data set; of composites the overlay's class."""

    def __len__(self) -> int:
        return len(self.target)

    def at(self, chosen: Mask | NDArray[np.int64]) -> Seen:
        """Some of the images."""
        rows = torch.from_numpy(chosen)
        return Seen(self.target[rows], self.source[rows], self.labels[chosen])


@dataclass(frozen=True)
class Material:
    """All groups of images. `fit` and `hold` are halves of the source images, `calibrate` and `judge` of the clean."""

    head: SourceHead
    """H(M^s)."""
    own: SourceHead
    """H(M^t)."""
    source: Seen
    source_ids: list[str]
    train: Seen
    train_ids: list[str]
    clean: Seen
    clean_split: str
    fit: Mask
    hold: Mask
    calibrate: Mask
    judge: Mask
    memories: Memories
    """By all source images: what the detector that is shipped watches."""
    half: Memories
    """By the fitting half of the source images: what the evaluation watches."""

    @property
    def lingering(self) -> Mask:
        """(n,) source images of the evaluating half that show a class chosen on the other half."""
        return np.asarray(self.hold & np.isin(self.source.labels, self.half.lingering))

    @property
    def shared(self) -> Mask:
        """(n,) source images of the evaluating half whose class is common in the target images."""
        common = np.array([state == "shared" for state in self.half.state])
        return np.asarray(self.hold & common[self.source.labels])


def collect(session: AnalysisSession, options: InterferenceDetector) -> Material | None:
    """Everything from cached passes; None where no class lingers. Raises InputError for missing models or images."""
    chosen = configured(session)
    evidence = gather(session, chosen)
    memories = judge(evidence, chosen)
    if not len(memories.lingering):
        return None
    split = session.overlay_split()
    if split == "train":
        raise InputError(
            "a threshold needs clean target images that the model was not trained on, and the target data have a "
            "train split only; give them a val split"
        )
    target, source = session.predictions("target", "source"), session.predictions("source", "source")
    train = session.predictions("target", "target", "train")
    clean = session.predictions("target", "target", split)
    labels = target.labels.numpy()
    fit, hold = source_halves(labels, target.ids, session.seed)
    calibrate, rest = calibration_share(clean.ids, options.calibration, session.seed)
    return Material(
        head=session.source_head(),
        own=target.head,
        source=_seen(target, source),
        source_ids=list(target.ids),
        train=_seen(train, session.predictions("source", "target", "train")),
        train_ids=list(train.ids),
        clean=_seen(clean, session.predictions("source", "target", split)),
        clean_split=split,
        fit=fit,
        hold=hold,
        calibrate=calibrate,
        judge=rest,
        memories=memories,
        half=judge(_part(evidence, fit), chosen),
    )


def _seen(target: Predictions, source: Predictions) -> Seen:
    if target.ids != source.ids:
        raise InputError("the two models did not see the same images in the same order")
    return Seen(target.features, source.features, target.labels.numpy())


def _part(evidence: Evidence, chosen: Mask) -> Evidence:
    rows = torch.from_numpy(chosen)
    return replace(
        evidence,
        labels=evidence.labels[rows],
        probability=evidence.probability[rows],
        source_probability=evidence.source_probability[rows],
    )
