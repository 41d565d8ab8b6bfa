"""How well a score tells two groups of images apart, and how well it orders inputs by risk. Ties count as ties.

Everywhere a larger score means more interference, and the interfering images are the positives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
ENDS = (2.5, 97.5)


class Interval(NamedTuple):
    """A value and the ends of its 95 % interval; NaN for what is not known."""

    value: float
    low: float
    high: float


NOTHING = Interval(math.nan, math.nan, math.nan)


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """P(a positive scores above a negative) + ½ P(they tie). NaN where one group is empty."""
    above, below = _checked(positive, negative)
    if not len(above) or not len(below):
        return math.nan
    counts = _Counts(above, below)
    return counts.auroc(counts.positive, counts.negative)


def aupr(positive: ArrayLike, negative: ArrayLike) -> float:
    """Average precision: Σ (recall gained) · precision over the distinct scores, from the largest on. NaN if empty."""
    above, below = _checked(positive, negative)
    if not len(above) or not len(below):
        return math.nan
    counts = _Counts(above, below)
    hits, alarms = counts.positive[::-1].cumsum(), counts.negative[::-1].cumsum()
    precision = hits / (hits + alarms)
    return float((precision * counts.positive[::-1]).sum() / len(above))


def fpr_at_tpr(positive: ArrayLike, negative: ArrayLike, tpr: float = 0.95) -> float:
    """The share of negatives at or above the largest threshold that at least `tpr` of the positives reach."""
    above, below = _checked(positive, negative)
    if not len(above) or not len(below):
        return math.nan
    needed = math.ceil(round(tpr * len(above), 9))
    threshold = np.sort(above)[len(above) - needed] if needed else math.inf
    return float((below >= threshold).mean())


def share_above(scores: ArrayLike, threshold: float) -> float:
    """The share of scores strictly above the threshold; NaN without scores."""
    values = np.asarray(scores, dtype=np.float64)
    return float((values > threshold).mean()) if len(values) else math.nan


def aurc(score: ArrayLike, wrong: ArrayLike) -> float:
    """Area under the risk-coverage curve: the mean, over n coverages 1/n … 1, of the share wrong among those kept.

    Kept are the inputs with the smallest scores; within tied scores every order is as good, so their mean is taken.
    NaN without inputs.
    """
    errors = _expected_errors(score, wrong)
    return float((errors / np.arange(1, len(errors) + 1)).mean()) if len(errors) else math.nan


def accuracy_at_coverage(score: ArrayLike, wrong: ArrayLike, coverage: float) -> float:
    """Accuracy of the share `coverage` of inputs with the smallest scores (at least one); ties as in `aurc`."""
    errors = _expected_errors(score, wrong)
    if not len(errors):
        return math.nan
    kept = max(1, math.floor(round(coverage * len(errors), 9)))
    return float(1 - errors[kept - 1] / kept)


def auroc_intervals(
    scores: Sequence[tuple[ArrayLike, ArrayLike]], resamples: int, rng: np.random.Generator
) -> list[Interval]:
    """AUROC of several scores of the same positives and negatives, with 95 % bootstrap intervals over images.

    All scores see the same resamples. Without resamples, or with fewer than two images in a group, no interval.
    """
    found = [_Counts(*_checked(positive, negative)) for positive, negative in scores]
    values = [auroc(positive, negative) for positive, negative in scores]
    if not found or resamples < 1 or min(len(found[0].above), len(found[0].below)) < 2:
        return [Interval(value, math.nan, math.nan) for value in values]
    drawn = np.empty((resamples, len(found)))
    for i in range(resamples):
        weights = [_again(len(group), rng) for group in (found[0].above, found[0].below)]
        drawn[i] = [counts.weighted(*weights) for counts in found]
    ends = np.percentile(drawn, ENDS, axis=0)
    return [Interval(value, float(low), float(high)) for value, low, high in zip(values, *ends, strict=True)]


def _again(size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each of `size` images is drawn in `size` draws."""
    return np.bincount(rng.integers(size, size=size), minlength=size)


class _Counts:
    """Positives and negatives per distinct score, the smallest first."""

    def __init__(self, above: Floats, below: Floats) -> None:
        self.above, self.below = above, below
        values, place = np.unique(np.concatenate([above, below]), return_inverse=True)
        self.size = len(values)
        self.places = place[: len(above)], place[len(above) :]
        self.positive, self.negative = (np.bincount(one, minlength=self.size) for one in self.places)

    def weighted(self, positive: NDArray[np.int64], negative: NDArray[np.int64]) -> float:
        """AUROC when each image counts so often."""
        up, down = self.places
        return self.auroc(
            np.bincount(up, weights=positive, minlength=self.size),
            np.bincount(down, weights=negative, minlength=self.size),
        )

    @staticmethod
    def auroc(positive: NDArray[Any], negative: NDArray[Any]) -> float:
        below = negative.cumsum() - negative / 2  # half of those that tie
        return float((positive * below).sum() / (positive.sum() * negative.sum()))


def _expected_errors(score: ArrayLike, wrong: ArrayLike) -> Floats:
    """(n,) how many of the k inputs with the smallest scores are wrong, k = 1 … n; the mean over orders of ties."""
    values, outcomes = np.asarray(score, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    if values.ndim != 1 or values.shape != outcomes.shape:
        raise ValueError(f"each score needs its outcome: {values.shape} scores and {outcomes.shape} outcomes")
    _refuse_nan(values)
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    rates = np.bincount(place, weights=outcomes, minlength=len(sizes)) / np.maximum(sizes, 1)
    return np.repeat(rates, sizes).cumsum()


def _checked(positive: ArrayLike, negative: ArrayLike) -> tuple[Floats, Floats]:
    above, below = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    if above.ndim != 1 or below.ndim != 1:
        raise ValueError(f"scores are one row per group, not {above.shape} and {below.shape}")
    _refuse_nan(above)
    _refuse_nan(below)
    return above, below


def _refuse_nan(values: Floats) -> None:
    if np.isnan(values).any():
        raise ValueError("a score is NaN; the model or an image is broken")
