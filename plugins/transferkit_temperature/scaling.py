"""Temperature scaling and what it is judged by, as pure functions of logits (n, K) and labels (n,)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
COOLEST, HOTTEST = 0.05, 20.0  # temperatures beyond these are those of a model that is right, or wrong, everywhere


def probabilities(logits: ArrayLike, temperature: ArrayLike = 1.0) -> Floats:
    """(n, K): the softmax of logits / temperature."""
    return np.exp(_log_softmax(logits, temperature))


def losses(logits: ArrayLike, labels: ArrayLike, temperature: ArrayLike = 1.0) -> Floats:
    """(n,): the negative logarithm of the true class's probability. Raises ValueError for labels that are no class."""
    found, true = _log_softmax(logits, temperature), np.asarray(labels, dtype=np.int64)
    if true.shape != found.shape[:1] or ((true < 0) | (true >= found.shape[1])).any():
        raise ValueError(f"{true.shape} labels do not fit logits of the shape {found.shape}")
    return -found[np.arange(len(found)), true]


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature with the least mean loss, between 0.05 and 20.

    The loss is convex in 1 / temperature, so there is one. Raises ValueError without images.
    """
    from scipy.optimize import minimize_scalar

    values = np.asarray(logits, dtype=np.float64)
    if not len(values):
        raise ValueError("a temperature is fitted on images, and there are none")

    def loss(inverse: float) -> float:
        return float(losses(values, labels, 1 / inverse).mean())

    ends = (1 / HOTTEST, 1 / COOLEST)
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-7})
    return 1 / float(min((*ends, float(found.x)), key=loss))


def cross_fitted(logits: ArrayLike, labels: ArrayLike, folds: int, rng: np.random.Generator) -> Floats:
    """(n,): for each image a temperature that was fitted on the other folds, which are drawn class by class."""
    values, true = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    order = rng.permutation(len(true))
    order = order[np.argsort(true[order], kind="stable")]
    fold = np.empty(len(true), dtype=np.int64)
    fold[order] = np.arange(len(true)) % folds
    found = np.ones(len(true))
    for one in range(folds):
        others = fold != one
        if others.any():
            found[~others] = fit_temperature(values[others], true[others])
    return found


def calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """Σ_b |B_b| / n · |acc(B_b) − conf(B_b)|, bins of equal width (Guo et al. 2017, eq. 5); NaN without images."""
    sure, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(sure):
        return math.nan
    gaps = np.bincount(bins_of(sure, bins), weights=hits - sure, minlength=bins)
    return float(np.abs(gaps).sum() / len(sure))


def classwise_error(found: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """The mean over classes of the calibration error of "is it this class?" (Kull et al. 2019); NaN without images."""
    chances, true = np.asarray(found, dtype=np.float64), np.asarray(labels)
    return float(np.mean([calibration_error(chances[:, k], true == k, bins) for k in range(chances.shape[1])]))


def bins_of(confidence: Floats, bins: int) -> NDArray[np.int64]:
    """(n,) probabilities -> (n,) bins of equal width; 1 is in the last one."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def _log_softmax(logits: ArrayLike, temperature: ArrayLike) -> Floats:
    """`temperature` is one number, or (n,)."""
    scaled = np.asarray(logits, dtype=np.float64) / np.asarray(temperature, dtype=np.float64).reshape(-1, 1)
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    found: Floats = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return found
