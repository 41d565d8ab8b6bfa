"""All detectors of the comparison under one interface: equation 5 with three heads, and the generic ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.model import SourceHead
from transferkit_interference import generic
from transferkit_interference.material import Material, Seen
from transferkit_interference.refit import LinearMap, fold, ridge_map
from transferkit_interference.score import interference_score
from transferkit_interference.splits import Mask, some

Reduction = Literal["sum", "max"]
HEADS = ("refitted", "swapped", "separate")
ROWS = 4096
TITLES = {
    "refitted": "refitted source head",
    "swapped": "swapped source head",
    "separate": "separate source model",
}


@dataclass(frozen=True)
class Detector:
    """A score of images: the larger, the more interference. `passes`: forward passes per image, M^t's included."""

    name: str
    passes: int
    score: Callable[[Seen], NDArray[np.float64]]
    own: bool = False
    """Whether it is one of ours, with equation 5."""


@dataclass(frozen=True)
class Eq5:
    """Equation 5 with one head: reads one of the two models' features."""

    model: str
    reduction: Reduction
    head: SourceHead
    lingering: Tensor

    def logits(self, seen: Seen) -> Tensor:
        """(n, K_s)."""
        return self.head.logits(seen.source if self.model == "separate" else seen.target)

    def __call__(self, seen: Seen) -> NDArray[np.float64]:
        """(n,) scores, in single precision as in use."""
        parts = [
            interference_score(self.logits(seen.at(rows)), self.lingering, self.reduction).double()
            for rows in np.array_split(np.arange(len(seen)), -(-len(seen) // ROWS) or 1)
        ]
        return torch.cat(parts).numpy()

    def named(self, seen: Seen) -> NDArray[np.int64]:
        """(n,) the lingering class with the largest logit, as a source class id; -1 without any."""
        ids = self.lingering
        if not len(ids):
            return np.full(len(seen), -1, dtype=np.int64)
        rows = np.array_split(np.arange(len(seen)), -(-len(seen) // ROWS) or 1)
        return torch.cat([ids[self.logits(seen.at(part))[:, ids].argmax(dim=1)] for part in rows]).numpy()


def fit_map(material: Material, seed: int, fit: Mask, limit: int, ridge: float | None) -> LinearMap:
    """The map from M^t's to M^s's features on these source images and the target's training images, without labels."""
    images = some(material.source_ids, fit, max(2, limit - len(material.train)), seed)
    few = some(material.train_ids, np.ones(len(material.train), dtype=bool), limit // 2, seed)
    both = [material.source.at(images), material.train.at(few)]
    return ridge_map(torch.cat([one.target for one in both]), torch.cat([one.source for one in both]), ridge)


def heads_of(material: Material, refitted: LinearMap) -> dict[str, SourceHead]:
    """The head of each of the three."""
    return {"refitted": fold(refitted, material.head), "swapped": material.head, "separate": material.head}


def eq5_detectors(heads: dict[str, SourceHead], lingering: NDArray[np.int64]) -> dict[tuple[str, str], Eq5]:
    """{(head, reduction): score}."""
    ids = torch.from_numpy(lingering)
    reductions: tuple[Reduction, ...] = ("sum", "max")
    return {(name, how): Eq5(name, how, heads[name], ids) for name in HEADS for how in reductions}


def generic_detectors(material: Material, neighbours: int) -> list[Detector]:
    """The nine that look at M^t alone, fitted on the target's training images.

    k of the nearest neighbours is at most a hundredth of these images: a larger share detects less.
    """
    own = material.own
    bias = own.bias if own.bias is not None else torch.zeros(len(own.weight))
    train = material.train
    fitted = generic.Fitted(train.target, torch.from_numpy(train.labels), own.weight, bias)
    k = max(1, min(neighbours, len(train) // 100))
    scores = {
        "MSP": generic.msp(fitted),
        "max logit": generic.max_logit(fitted),
        "energy": generic.energy(fitted),
        "entropy": generic.entropy(fitted),
        "Mahalanobis": generic.mahalanobis(fitted),
        "relative Mahalanobis": generic.relative_mahalanobis(fitted),
        f"kNN (k = {k})": generic.nearest(fitted, k),
        "ViM": generic.vim(fitted),
        "ReAct + energy": generic.react(fitted),
    }
    return [Detector(name, 1, _on_target(score)) for name, score in scores.items()]


def _on_target(score: generic.Score) -> Callable[[Seen], NDArray[np.float64]]:
    return lambda seen: score(seen.target).numpy()


def all_detectors(material: Material, ours: dict[tuple[str, str], Eq5], neighbours: int) -> list[Detector]:
    """Ours first, then the others."""
    found = [
        Detector(f"{TITLES[name]}, {how}", 2 if name == "separate" else 1, score, own=True)
        for (name, how), score in ours.items()
    ]
    return found + generic_detectors(material, neighbours)
