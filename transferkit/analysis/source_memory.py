"""What the fine-tuned backbone remembers of each source class: the one answer that all analyzers share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis.source_sets import class_means, recognised, source_only
from transferkit.analysis.thresholds import MemoryThresholds
from transferkit.errors import InputError
from transferkit.statistics import means_by_group

if TYPE_CHECKING:
    from transferkit.analysis.session import AnalysisSession

DEPTH = 10
"""Prevalence is counted for every k up to this, at least, so that analyses with other k share one answer."""

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Memories:
    """Per source class, all arrays over the K_s classes: how common it is in the target, how well it is remembered."""

    names: list[str]
    prevalence: Counts
    """(K,) target images whose k best source classes hold this one (Eq. 1)."""
    images: Counts
    """(K,) source images of the class."""
    mean_probability: Shares
    """(K,) mean of p_c(M^st) over the class's images; NaN without images."""
    source_probability: Shares
    """(K,) the same of M^s."""
    probability_low: Shares
    """(K,) lower end of the 95 % interval of `mean_probability`, over images of the class (`means_by_group`)."""
    probability_high: Shares
    """(K,) upper end; both are NaN below two images."""
    state: list[str]
    """shared, unknown (source-only, no images), lingering (source-only, and the whole interval lies above p_lo),
    source_only (forgotten: no part of it does), or uncertain: it lies on both sides, or there are few images."""
    source_only: Counts
    """(m,) sorted ids by Eq. 2: unknown and uncertain classes are in."""
    lingering: Counts
    """(m,) sorted ids by Eq. 3, which asks for the mean alone: of classes that are uncertain some are in."""
    n_target: int
    k: int
    v_lo: int
    """As a number of images."""
    p_lo: float
    min_images: int

    @property
    def relative_retention(self) -> Shares:
        """(K,) mean_probability / source_probability; NaN where there is nothing to divide by."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.source_probability > 0, self.mean_probability / self.source_probability, np.nan)


@dataclass(frozen=True)
class MemoryEvidence:
    """What passes over the images gave, before any threshold: compact, and worth keeping."""

    names: list[str]
    prevalence_by_k: Counts
    """(depth, K): row i holds the prevalence at k = i + 1."""
    labels: Tensor
    """(n,) int64 source classes of the source images."""
    probability: Tensor
    """(n,) float64 p_c(M^st) of each source image at its class."""
    source_probability: Tensor
    """(n,) float64 the same of M^s."""
    n_target: int


def memories(session: AnalysisSession, thresholds: MemoryThresholds | None = None) -> Memories:
    """What is remembered, with these thresholds; by default those that all analyses of the run or audit share.

    Needs the source model, source images and target images, and uses cached predictions only.
    Raises InputError where one of them is missing.
    """
    thresholds = thresholds if thresholds is not None else memory_thresholds(session)
    return judge_memories(memory_evidence(session, thresholds.k), thresholds)


def memory_thresholds(session: AnalysisSession) -> MemoryThresholds:
    """The thresholds of the run or audit: those of the analyzer whose options they are, or else the default ones."""
    return next((peer for peer in session.peers.values() if isinstance(peer, MemoryThresholds)), MemoryThresholds())


def memory_evidence(session: AnalysisSession, depth: int) -> MemoryEvidence:
    """Prevalence at every k up to `depth` or more, and the label probabilities of M^st and M^s: cached.

    Raises InputError where the source model, source images or target images are missing.
    """
    if not session.has("source"):
        raise InputError(
            "which source classes are common in the target can only be seen by the source model, and this analysis "
            "has none; name it"
        )
    depth, head = max(depth, DEPTH), session.source_head()
    swap, source = session.predictions("target", "source"), session.predictions("source", "source")
    facts = {
        "what": "memories",
        "models": [session.digest("head_swap"), session.digest("source")],
        "images": [session.data_digest("source"), session.data_digest("target")],
        "labels": blake2b(swap.labels.numpy().tobytes(), digest_size=16).hexdigest(),
        "depth": depth,
    }

    def compute() -> dict[str, Tensor]:
        return {
            "prevalence": prevalence_by_k(session.predictions("source", "target").top(depth, head), len(head.classes)),
            "probability": swap.label_probability(head),
            "source_probability": source.label_probability(head),
        }

    found = session.cached(facts, compute, shared=True)
    n_target = len(session.predictions("source", "target").labels)
    if n_target == 0:
        raise InputError("there are no target images, so no source class can be called common or rare in them")
    return MemoryEvidence(
        list(swap.classes),
        found["prevalence"].numpy(),
        swap.labels,
        found["probability"],
        found["source_probability"],
        n_target,
    )


def prevalence_by_k(top: Tensor, num_classes: int) -> Tensor:
    """(n, depth) the best classes of each image, best first -> (depth, K) int64: the prevalence at each k."""
    hits = torch.stack([torch.bincount(column, minlength=num_classes) for column in top.unbind(dim=1)])
    return hits.cumsum(dim=0)


def judge_memories(evidence: MemoryEvidence, thresholds: MemoryThresholds) -> Memories:
    """The thresholds applied: Eq. 2 and 3, and the state of each class with the interval that it stands on."""
    size = len(evidence.names)
    by_k = evidence.prevalence_by_k
    prevalence = by_k[min(thresholds.k, len(by_k)) - 1]
    v_lo, p_lo = image_threshold(thresholds.v_lo, evidence.n_target), probability_threshold(thresholds.p_lo, size)
    images = torch.bincount(evidence.labels, minlength=size).numpy()
    only = source_only(torch.from_numpy(prevalence), v_lo).numpy()
    remembered = recognised(evidence.probability, evidence.labels, size, p_lo).numpy()
    low, high = means_by_group(evidence.probability.numpy(), evidence.labels.numpy(), size)
    enough = images >= thresholds.min_images
    rare = {"unknown": images == 0, "lingering": enough & (low > p_lo), "source_only": enough & (high <= p_lo)}
    shared = ~np.isin(np.arange(size), only)
    return Memories(
        names=evidence.names,
        prevalence=prevalence,
        images=images,
        mean_probability=class_means(evidence.probability, evidence.labels, size).numpy(),
        source_probability=class_means(evidence.source_probability, evidence.labels, size).numpy(),
        probability_low=low,
        probability_high=high,
        state=np.select([shared, *rare.values()], ["shared", *rare], "uncertain").tolist(),
        source_only=only,
        lingering=only[remembered[only]],
        n_target=evidence.n_target,
        k=thresholds.k,
        v_lo=v_lo,
        p_lo=p_lo,
        min_images=thresholds.min_images,
    )


def image_threshold(v_lo: float, n_target: int) -> int:
    """A number of images from 1 up; below 1 a share of the target images, rounded down."""
    return math.floor(round(v_lo * n_target, 9)) if v_lo < 1 else math.floor(v_lo)


def probability_threshold(p_lo: float | None, num_classes: int) -> float:
    """`p_lo`, by default ten times chance, as in the paper; with fewer than 20 classes one half."""
    return p_lo if p_lo is not None else min(10 / num_classes, 0.5)
