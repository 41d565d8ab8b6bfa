"""Two models' votes on the same images: how alike answers to a class are, and whether the same classes are biased."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.statistics import Estimate, intraclass, intraclass_difference, jackknife
from transferkit_bias.significance import Counts

LEAST = 3  # classes for a correlation with an interval: leaving one out must leave two
SPLITS = 200


@dataclass(frozen=True)
class Comparison:
    """The fine-tuned model beside the baseline; NaN without one."""

    alike: Estimate
    """Intraclass correlation of the fine-tuned model's answers, over classes."""
    alike_baseline: Estimate
    difference: Estimate
    """The first less the second, on the same images."""
    r: Estimate
    """Pearson's r over classes with enough images of the two models' shares for the first target class."""
    ceiling: float
    """What r could be at most, with votes as noisy as these."""


def compare(target: Counts, baseline: Counts | None, enough: NDArray[np.bool_], rng: np.random.Generator) -> Comparison:
    """Votes (K_s, K_t) of both models on the same images -> what they have in common.

    `enough` (K_s,) are the classes with enough images for a share of their own.
    """
    images = target.sum(axis=1)
    if target.shape[1] < 2 or not images.any():
        return Comparison(Estimate(nan), Estimate(nan), Estimate(nan), Estimate(nan), nan)
    alike = intraclass(target, images)
    if baseline is None:
        return Comparison(alike, Estimate(nan), Estimate(nan), Estimate(nan), nan)
    used = enough & (images > 1)
    pair = [(votes[used, 0], images[used]) for votes in (target, baseline)]
    return Comparison(
        alike=alike,
        alike_baseline=intraclass(baseline, images),
        difference=intraclass_difference(target, baseline, images),
        r=pearson(*(hits / trials for hits, trials in pair)),
        ceiling=sqrt(max(0.0, reliability(*pair[0], rng)) * max(0.0, reliability(*pair[1], rng))),
    )


def pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> Estimate:
    """Pearson's r of two numbers per class (m,), with the interval over classes: the jackknife of Fisher's z.

    NaN below two classes and where one of the two never varies; no interval below three classes.
    """
    sums = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b])
    value = float(_r(sums.sum(axis=1)))
    if len(a) < LEAST or np.isnan(value):
        return Estimate(value, n=len(a))
    found = jackknife(lambda s: np.arctanh(np.clip(_r(s), -0.999, 0.999)), sums)
    return Estimate(value, min(float(np.tanh(found.low)), value), max(float(np.tanh(found.high)), value), len(a))


def _r(sums: Any) -> Any:
    n, x, y, xx, yy, xy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))
        return np.where(spread > 1e-9, (n * xy - x * y) / spread, np.nan)


def reliability(hits: Counts, trials: Counts, rng: np.random.Generator) -> float:
    """How far the shares hits / trials (m,) of classes would be the same with other images: 1 exactly, 0 not at all.

    Pearson's r between the two halves of every class's images, averaged over random splits, and stepped up to all of
    them by Spearman and Brown. 0 where nothing varies, or with fewer than two classes. Every class has two trials.
    """
    half = trials // 2
    found = []
    for _ in range(SPLITS):
        first = rng.hypergeometric(hits, trials - hits, half)
        one, other = first / half, (hits - first) / (trials - half)
        found.append(float(_r(np.stack([np.ones_like(one), one, other, one**2, other**2, one * other]).sum(axis=1))))
    if not found or np.isnan(found).all():
        return 0.0
    r = float(np.nanmean(found))
    return 2 * r / (1 + r) if r > 0 else 0.0
