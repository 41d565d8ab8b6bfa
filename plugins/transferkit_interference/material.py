"""What the detector is made of and judged on: features of both models for every group of images, and keyed splits.

No image does two of choosing, fitting, calibrating and evaluating by accident.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import Memories, MemoryEvidence, judge_memories, memory_evidence, memory_thresholds
from transferkit.data import key
from transferkit.errors import InputError
from transferkit.model import SourceHead, outputs

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession, Predictions
    from transferkit_interference.options import Options

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Seen:
    """What both models made of the same n images: features of M^t (n, d_t) and of M^s (n, d_s).

    Labels (n,) are classes of the data set; of composites the overlay's class, and `background` (n,) is the source
    class behind it.
    """

    target: Tensor
    source: Tensor
    labels: NDArray[np.int64]
    background: NDArray[np.int64] | None = None
    taps: Mapping[str, Tensor] = field(default_factory=dict)
    """{layer: (n, C)} of M^t, averaged over positions: those that some detector looks at."""

    def __len__(self) -> int:
        return len(self.target)

    def at(self, chosen: Mask | NDArray[np.int64]) -> Seen:
        """Some of the images."""
        rows = torch.from_numpy(chosen)
        behind = None if self.background is None else self.background[chosen]
        taps = {name: output[rows] for name, output in self.taps.items()}
        return Seen(self.target[rows], self.source[rows], self.labels[chosen], behind, taps)


@dataclass(frozen=True)
class Material:
    """All groups of images. `fit` and `hold` are halves of the source images, `calibrate` and `judge` parts of the
    clean.

    What is written is made of `fit` and `calibrate` alone, so that the others can judge it and not one like it. Nothing
    but the threshold is made of clean images: where all of them calibrate, all of them judge, except the threshold.
    """

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
    halves: tuple[Mask, Mask] | None
    """Of those that judge, where they calibrate too: each judges the threshold of the other."""
    aside: Mask
    """The clean images that a detector is fitted on, and that neither calibrate nor judge; mostly none."""
    memories: Memories
    """By the fitting half of the source images: what the detector watches."""

    @property
    def lingering(self) -> Mask:
        """(n,) source images of the evaluating half that show a class chosen on the other half."""
        return np.asarray(self.hold & np.isin(self.source.labels, self.memories.lingering))

    def right(self, seen: Seen) -> Mask:
        """(n,) which target images, or composites of them, M^t names right."""
        return np.asarray(self.own.logits(seen.target).argmax(dim=1).numpy() == seen.labels)

    @property
    def shared(self) -> Mask:
        """(n,) source images of the evaluating half whose class is common in the target images."""
        common = np.array([state == "shared" for state in self.memories.state])
        return np.asarray(self.hold & common[self.source.labels])


def collect(
    session: AnalysisSession, options: Options, layers: Sequence[str] = (), aside: float = 0.0
) -> Material | None:
    """Everything from cached passes; None where no class lingers by the half that chooses.

    `layers` are inner layers of M^t that are looked at as well, which takes one more pass; `aside` is the share of the
    clean images that detectors are fitted on. Raises InputError for missing models or images.
    """
    chosen = memory_thresholds(session)
    evidence = memory_evidence(session, chosen.k)
    target, source = session.predictions("target", "source"), session.predictions("source", "source")
    labels = target.labels.numpy()
    fit, hold = source_halves(labels, target.ids, session.seed)
    memories = judge_memories(_part(evidence, fit), chosen)
    if not len(memories.lingering):
        return None
    split = session.overlay_split()
    if split == "train":
        raise InputError(
            "a threshold needs clean target images that the model was not trained on, and the target data have a "
            "train split only; give them a val split"
        )
    train = session.predictions("target", "target", "train")
    clean = session.predictions("target", "target", split)
    kept = calibration_share(clean.ids, aside, session.seed, "aside")[1]
    calibrate, rest = calibration_share(clean.ids, options.calibration, session.seed)
    halves = calibration_share(clean.ids, 0.5, session.seed)
    whole = not rest.any()
    return Material(
        head=session.source_head(),
        own=target.head,
        source=replace(_seen(target, source), taps=pooled_layers(session, "source", None, layers)),
        source_ids=list(target.ids),
        train=replace(
            _seen(train, session.predictions("source", "target", "train")),
            taps=pooled_layers(session, "target", "train", layers),
        ),
        train_ids=list(train.ids),
        clean=replace(
            _seen(clean, session.predictions("source", "target", split)),
            taps=pooled_layers(session, "target", split, layers),
        ),
        clean_split=split,
        fit=fit,
        hold=hold,
        calibrate=calibrate & kept,
        judge=(calibrate if whole else rest) & kept,
        halves=(halves[0][kept], halves[1][kept]) if whole else None,
        aside=~kept,
        memories=memories,
    )


def pooled_layers(session: AnalysisSession, data: str, split: str | None, names: Sequence[str]) -> dict[str, Tensor]:
    """{layer: (n, C)} of M^t averaged over positions, in the given order; from the cache, or one more pass."""
    if not names:
        return {}
    facts = {
        "what": "inner layers, mean over positions",
        "model": session.digest("target"),
        "images": session.data_digest(data, split),
        "layers": list(names),
        "device": session.device.type,
    }

    def compute() -> dict[str, Tensor]:
        model = copy.deepcopy(session.model("target"))
        model.tap(names)
        samples = session.samples(data, split)
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        readings = {name: model.reading(name) for name in names}
        text = f"inner layers of the target model on {len(samples)} images"
        for _, _, given in outputs(model, samples, session.progress, text):
            for name in names:
                found[name].append(readings[name].pooled(given.taps[name]).float().cpu())
        return {name: torch.cat(parts) for name, parts in found.items()}

    inner = session.cached(facts, compute)
    return {name: inner[name] for name in names}


def _seen(target: Predictions, source: Predictions) -> Seen:
    if target.ids != source.ids:
        raise InputError("the two models did not see the same images in the same order")
    return Seen(target.features, source.features, target.labels.numpy())


def _part(evidence: MemoryEvidence, chosen: Mask) -> MemoryEvidence:
    rows = torch.from_numpy(chosen)
    return replace(
        evidence,
        labels=evidence.labels[rows],
        probability=evidence.probability[rows],
        source_probability=evidence.source_probability[rows],
    )


def source_halves(labels: NDArray[np.int64], ids: Sequence[str], seed: int) -> tuple[Mask, Mask]:
    """(n,) and (n,): source images that choose classes and fit, and those that evaluate.

    Each class is cut in two by a keyed order, the odd image fits; so an image that is alone in its class fits.
    """
    fit = np.zeros(len(labels), dtype=bool)
    for number in np.unique(labels).tolist():
        members = _by_key(np.flatnonzero(labels == number).tolist(), ids, seed, "source half")
        fit[members[: (len(members) + 1) // 2]] = True
    return fit, ~fit


def calibration_share(ids: Sequence[str], share: float, seed: int, what: str = "calibration") -> tuple[Mask, Mask]:
    """(n,) and (n,): clean images that set the threshold, and the rest. A keyed choice of ⌊share·n + ½⌋ of all.

    Not by class: the images must be drawn like the inputs that are to come.
    """
    chosen = np.zeros(len(ids), dtype=bool)
    chosen[_by_key(range(len(ids)), ids, seed, what)[: math.floor(share * len(ids) + 0.5)]] = True
    return chosen, ~chosen


def some(ids: Sequence[str], among: Mask, limit: int, seed: int) -> NDArray[np.int64]:
    """(m,) sorted indices: all of `among`, or a keyed choice of `limit` of them."""
    members = np.flatnonzero(among).tolist()
    if len(members) > limit:
        members = _by_key(members, ids, seed, "fit")[:limit]
    return np.array(sorted(members), dtype=np.int64)


def _by_key(members: Sequence[int], ids: Sequence[str], seed: int, what: str) -> list[int]:
    return sorted(members, key=lambda i: (key(seed, "interference", what, ids[i]), ids[i]))
