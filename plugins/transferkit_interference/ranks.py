"""How well a score tells two groups of images apart, and how well it orders inputs by risk. Ties count as ties.

Everywhere a larger score means more interference, and the interfering images are the positives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from transferkit.statistics import Estimate, resample, sums_by

Floats = NDArray[np.float64]


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """P(a positive scores above a negative) + ½ P(they tie). NaN where one group is empty."""
    return _Pooled(positive, negative).auroc()


def aupr(positive: ArrayLike, negative: ArrayLike) -> float:
    """Average precision: Σ (recall gained) · precision over the distinct scores, from the largest on. NaN if empty."""
    pooled = _Pooled(positive, negative)
    if not all(pooled.sizes):
        return math.nan
    gained, alarms = (counts[::-1] for counts in pooled.counts())
    hits = gained.cumsum()
    return float((hits / (hits + alarms.cumsum()) * gained).sum() / pooled.sizes[0])


def fpr_at_tpr(positive: ArrayLike, negative: ArrayLike, tpr: float = 0.95) -> float:
    """The share of negatives at or above the largest threshold that at least `tpr` of the positives reach."""
    above, below = _scores(positive), _scores(negative)
    if not len(above) or not len(below):
        return math.nan
    needed = math.ceil(round(tpr * len(above), 9))
    threshold = np.sort(above)[len(above) - needed] if needed else math.inf
    return float((below >= threshold).mean())


def share_above(scores: ArrayLike, threshold: float) -> float:
    """The share of scores strictly above the threshold; NaN without scores, and where there is none (infinity)."""
    values = np.asarray(scores, dtype=np.float64)
    return float((values > threshold).mean()) if len(values) and math.isfinite(threshold) else math.nan


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


@dataclass(frozen=True)
class Judged:
    """A number that samples of images gave, and how far it moves with each of them.

    `parts`: per sample the deviations (units,), whose squares add up to its share of the variance, and the degrees of
    freedom. A unit is what was drawn: a source class with its images, or a clean image. Empty where that is unknown.
    """

    value: float
    parts: tuple[tuple[Floats, float], ...] = ()

    def beyond(self, other: Judged) -> Judged:
        """How much larger it is than another number of the same images in the same order: paired."""
        pairs = zip(self.parts, other.parts, strict=False)
        return Judged(self.value - other.value, tuple((a - b, freedom) for (a, freedom), (b, _) in pairs))

    def mean(self, other: Judged) -> Judged:
        """Half of each, of different images."""
        parts = tuple((part / 2, freedom) for part, freedom in (*self.parts, *other.parts))
        return Judged((self.value + other.value) / 2, parts)

    def gap(self, confidence: float = 0.95) -> Estimate:
        """With Student's interval; none where a sample has one unit, nor where a difference does not vary."""
        error, times, units = self._error(confidence)
        if not error > 0 and self.value != 0:
            return Estimate(self.value, n=units)
        return Estimate(self.value, self.value - times * error, self.value + times * error, units)

    def share(self, confidence: float = 0.95) -> Estimate:
        """With Wilson's interval, of as many trials as would vary as much; within 0..1, and not a point at its ends."""
        error, times, units = self._error(confidence)
        if math.isnan(error) or math.isnan(self.value):
            return Estimate(self.value, n=units)
        spread = self.value * (1 - self.value)
        worth = spread / error**2 if spread > 0 and error > 0 else min(len(part) for part, _ in self.parts)
        square = times**2 / worth
        middle = (self.value + square / 2) / (1 + square)
        half = math.sqrt(square * (spread + square / 4)) / (1 + square)
        return Estimate(self.value, max(0.0, middle - half), min(1.0, middle + half), units)

    def _error(self, confidence: float) -> tuple[float, float, int]:
        """The standard error, Student's t for it (Welch and Satterthwaite), and how many units were drawn."""
        units = sum(len(part) for part, _ in self.parts)
        variances = [(float(np.square(part).sum()), freedom) for part, freedom in self.parts]
        total = sum(variance for variance, _ in variances)
        if not self.parts or math.isnan(total):
            return math.nan, math.nan, units
        spread = sum(variance**2 / freedom for variance, freedom in variances)
        freedom = total**2 / spread if spread else min(freedom for _, freedom in variances)
        return math.sqrt(total), float(stdtrit(freedom, (1 + confidence) / 2)), units


def judged_auroc(positive: ArrayLike, negative: ArrayLike, classes: ArrayLike, others: ArrayLike) -> Judged:
    """`auroc`, and what leaving out each of the `classes` (n,) of positives and `others` (m,) of negatives does to it.

    It is a mean of placements, the share of the other group that an image beats, so nothing is ranked again. Images
    that share a class are left out together; give every image a number of its own where they are independent.
    """
    pooled = _Pooled(positive, negative)
    if not all(pooled.sizes):
        return Judged(math.nan)
    parts = zip(pooled.placements(), (classes, others), strict=True)
    return Judged(pooled.auroc(), tuple(_left_out(placed, labels) for placed, labels in parts))


def _left_out(placements: Floats, labels: ArrayLike) -> tuple[Floats, float]:
    sums, sizes = sums_by(labels, placements, np.ones(len(placements)))
    count = len(sizes)
    if count < 2:
        return np.full(1, math.nan), math.nan
    without = (sums.sum() - sums) / (sizes.sum() - sizes)
    return math.sqrt((count - 1) / count) * (without - placements.mean()), _freedom(sizes)


def judged_aurc(
    scores: Sequence[ArrayLike], wrong: ArrayLike, units: Sequence[ArrayLike], resamples: int, rng: np.random.Generator
) -> list[Judged]:
    """`aurc` of several scores of the same inputs, with what drawing the inputs anew does; all see the same draws.

    `units`: labels of the inputs, one row per sample; whole labels are drawn, within each sample. Nothing is known of
    the error without resamples, nor where a sample has one label.
    """
    outcomes, found = np.asarray(wrong), [aurc(score, wrong) for score in scores]
    places = [np.unique(np.asarray(labels), return_inverse=True)[1] for labels in units]
    sizes = [int(place.max()) + 1 if len(place) else 0 for place in places]
    if resamples < 1 or not sizes or min(sizes) < 2:
        return [Judged(value) for value in found]
    rows = np.arange(len(outcomes))

    def again(*drawn: NDArray[np.int64]) -> list[float]:
        counts = [np.bincount(ids, minlength=n)[place] for ids, n, place in zip(drawn, sizes, places, strict=True)]
        chosen = np.repeat(rows, np.concatenate(counts))
        return [aurc(np.asarray(score)[chosen], outcomes[chosen]) for score in scores]

    made = resample(again, sizes, resamples, rng)
    few = min(sizes)
    moved = (made - made.mean(axis=0)) * math.sqrt(few / (few - 1) / resamples)
    freedom = min(_freedom(np.bincount(place)) for place in places)
    return [Judged(value, ((column, freedom),)) for value, column in zip(found, moved.T, strict=True)]


def _freedom(sizes: ArrayLike) -> float:
    """Kish's number of equal units that units of these sizes are worth, less one; at least 1."""
    wide = np.asarray(sizes, dtype=np.float64)
    return max(1.0, float(wide.sum() ** 2 / np.square(wide).sum()) - 1)


class _Pooled:
    """The distinct scores of positives and negatives, the smallest first, and where each image's stands."""

    def __init__(self, positive: ArrayLike, negative: ArrayLike) -> None:
        above, below = _scores(positive), _scores(negative)
        self.sizes = len(above), len(below)
        values, place = np.unique(np.concatenate([above, below]), return_inverse=True)
        self.places, self.distinct = (place[: len(above)], place[len(above) :]), len(values)

    def counts(self) -> list[NDArray[Any]]:
        """Positives and negatives per score."""
        return [np.bincount(place, minlength=self.distinct) for place in self.places]

    def placements(self) -> tuple[Floats, Floats]:
        """The share of negatives below each positive, and of positives above each negative; of ties, half."""
        positive, negative = self.counts()
        below = (negative.cumsum() - negative / 2) / max(self.sizes[1], 1)
        above = 1 - (positive.cumsum() - positive / 2) / max(self.sizes[0], 1)
        return below[self.places[0]], above[self.places[1]]

    def auroc(self) -> float:
        return float(self.placements()[0].mean()) if all(self.sizes) else math.nan


def _expected_errors(score: ArrayLike, wrong: ArrayLike) -> Floats:
    """(n,) how many of the k inputs with the smallest scores are wrong, k = 1 … n; the mean over orders of ties."""
    values, outcomes = _scores(score), np.asarray(wrong, dtype=np.float64)
    if values.shape != outcomes.shape:
        raise ValueError(f"each score needs its outcome: {values.shape} scores and {outcomes.shape} outcomes")
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    rates = np.bincount(place, weights=outcomes, minlength=len(sizes)) / np.maximum(sizes, 1)
    return np.repeat(rates, sizes).cumsum()


def _scores(values: ArrayLike) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"scores are one row per group, not {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN; the model or an image is broken")
    return scores
