"""The numbers themselves: of logits (n, K), labels (n,) and groups (n,), as NumPy arrays, in double precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import rankdata

Floats = NDArray[np.floating]
Whole = NDArray[np.int64]


def balanced_accuracy(logits: Floats, labels: Whole) -> float:
    """The mean recall of the classes that have images; NaN without images."""
    return _mean([float((logits.argmax(1)[labels == one] == one).mean()) for one in np.unique(labels)])


def f1_macro(logits: Floats, labels: Whole) -> float:
    """The mean of 2·TP / (2·TP + FP + FN) over the classes that occur as labels or predictions; NaN without any."""
    predicted = logits.argmax(1)
    return _mean(
        [
            2
            * float(((predicted == one) & (labels == one)).sum())
            / float((predicted == one).sum() + (labels == one).sum())
            for one in np.union1d(labels, predicted)
        ]
    )


def auroc(logits: Floats, labels: Whole) -> float:
    """The area under the ROC curve of each class against the rest by its softmax probability, on average.

    The share of pairs that are ranked right, ties counting half. Of two classes it is one curve. Classes without
    images, or with all of them, have none; NaN where no class has one.
    """
    probabilities = softmax(logits.astype(np.float64), axis=1)
    areas = []
    for one in [1] if logits.shape[1] == 2 else range(logits.shape[1]):
        own = labels == one
        positive, negative = int(own.sum()), int((~own).sum())
        if positive and negative:
            above = float(rankdata(probabilities[:, one])[own].sum()) - positive * (positive + 1) / 2
            areas.append(above / (positive * negative))
    return _mean(areas)


def ece(logits: Floats, labels: Whole, bins: int = 15) -> float:
    """The expected calibration error: Σ (n_b / n)·|accuracy − confidence| over `bins` bins (l, u] of one width.

    Confidence is the largest softmax probability. NaN without images.
    """
    if not len(labels):
        return float("nan")
    probabilities = softmax(logits.astype(np.float64), axis=1)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def worst_group(logits: Floats, labels: Whole, groups: Whole) -> float:
    """The lowest accuracy of all groups that have images; NaN without images."""
    right = logits.argmax(1) == labels
    return min((float(right[groups == one].mean()) for one in np.unique(groups)), default=float("nan"))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
