"""Equations 1 to 3 of paper 000 as pure functions: prevalence, source-only classes, lingering classes."""

from __future__ import annotations

import math
from operator import index

import torch
from torch import Tensor

from transferkit.analysis.ids import class_ids, same_length

ROWS = 4096  # images at a time: 50 000 x 1000 scores need no second copy of themselves


def prevalence(scores: Tensor, k: int) -> Tensor:
    """Eq. 1: how many images have the class among their k largest scores. (n, K) -> (K,) int64.

    Logits and probabilities give the same counts. Of equal scores those of the lower class ids count as larger;
    a k above K means all classes. Raises ValueError for NaN, for another shape and for k below 1.
    """
    _refuse_matrix(scores, "prevalence: the scores")
    if index(k) < 1:
        raise ValueError(f"prevalence: k must be at least 1, not {k}")
    found = torch.zeros(scores.shape[1], dtype=torch.int64, device=scores.device)
    k = min(index(k), scores.shape[1])
    for part in torch.split(scores, ROWS) if k else ():
        found += _largest(part, k).sum(dim=0)
    return found


def _largest(scores: Tensor, k: int) -> Tensor:
    """(n, K) bool, k of them true per row. `torch.topk` gives the k-th value but breaks ties as it likes."""
    scores = scores.to(torch.uint8) if scores.dtype == torch.bool else scores
    threshold = scores.topk(k, dim=1).values[:, -1:]
    above, equal = scores > threshold, scores == threshold
    room = k - above.sum(dim=1, keepdim=True)
    return above | (equal & (equal.cumsum(dim=1) <= room))


def source_only(prevalence: Tensor, v_lo: float) -> Tensor:
    """Eq. 2: the sorted (m,) int64 ids of the classes with a prevalence of at most `v_lo` images (inclusive).

    Raises ValueError for NaN and for another shape than (K,).
    """
    found = torch.as_tensor(prevalence)
    if found.ndim != 1:
        raise ValueError(f"source_only: the prevalence must have the shape (K,), not {tuple(found.shape)}")
    if math.isnan(v_lo) or bool(found.isnan().any()):
        raise ValueError("source_only: NaN is neither above nor below a threshold")
    return torch.nonzero(found.double() <= v_lo).flatten()


def lingering(probabilities: Tensor, labels: Tensor, candidates: Tensor, p_lo: float) -> Tensor:
    """Eq. 3: the sorted (m,) int64 ids of the candidates whose images the head swap still recognises.

    `probabilities` (n, K) are those of M^st over all K source classes, `labels` (n,) the images' source classes,
    `candidates` the source-only class ids. A class is in when the mean of p_c over its own images is above `p_lo`
    (strictly); one without images is not. Raises ValueError for NaN, ids out of range and shapes that do not fit.
    """
    _refuse_matrix(probabilities, "lingering: the probabilities")
    device, classes = probabilities.device, probabilities.shape[1]
    ids = class_ids(labels, classes, "lingering: the labels", device)
    wanted = torch.unique(class_ids(candidates, classes, "lingering: the candidates", device))
    same_length(probabilities, ids, "lingering: probabilities and labels")
    own = probabilities.gather(1, ids[:, None]).squeeze(1)
    found: Tensor = wanted[recognised(own, ids, classes, p_lo)[wanted]]
    return found


def recognised(own: Tensor, labels: Tensor, num_classes: int, p_lo: float) -> Tensor:
    """(K,) bool: the classes whose mean of `own` (n,), each image's probability of its own class, is above `p_lo`.

    The threshold is taken in the dtype of `own` and the excess summed in float64, so a mean that equals the
    threshold is not above it.
    """
    if math.isnan(p_lo):
        raise ValueError("lingering: p_lo must be a number")
    threshold = torch.tensor(p_lo, dtype=own.dtype if own.is_floating_point() else torch.float64)
    return class_sums(own.double() - threshold.double(), labels, num_classes) > 0


def class_sums(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(K,) float64: the sum of `values` (n,) over the images of each class."""
    sums = torch.zeros(num_classes, dtype=torch.float64, device=values.device)
    return sums.index_add_(0, labels, values.double())


def class_means(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(K,) float64: the mean of `values` (n,) over the images of each class; NaN for a class without images."""
    return class_sums(values, labels, num_classes) / torch.bincount(labels, minlength=num_classes)


def _refuse_matrix(scores: Tensor, what: str) -> None:
    if scores.ndim != 2:
        raise ValueError(f"{what} must have the shape (images, classes), not {tuple(scores.shape)}")
    if scores.is_floating_point() and bool(scores.isnan().any()):
        raise ValueError(f"{what} contain NaN; the model's weights or the images are broken")
