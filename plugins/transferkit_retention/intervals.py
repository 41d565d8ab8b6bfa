"""How far accuracies and their ratio could be off: Wilson, and a paired bootstrap over images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transferkit.analysis.run_folder import wilson

NAN = float("nan")


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images: shares of right answers, their ratio, 95 % intervals. NaN where unknown."""

    images: int
    source: float
    swap: float
    source_interval: tuple[float, float]
    swap_interval: tuple[float, float]
    ratio: float
    ratio_interval: tuple[float, float]


def compare(
    source: NDArray[np.bool_] | None, swap: NDArray[np.bool_], resamples: int, rng: np.random.Generator
) -> Comparison:
    """Which images (n,) M^s and M^st get right -> top-1 of both and swap / source.

    The ratio's interval resamples images with both answers: which is drawing the four kinds of image (both right,
    one of them, none) from a multinomial distribution. It has no ratio when M^s is missing or never right.
    """
    images = len(swap)
    if not images:
        return Comparison(0, NAN, NAN, (NAN, NAN), (NAN, NAN), NAN, (NAN, NAN))
    after = float(swap.mean())
    if source is None:
        return Comparison(images, NAN, after, (NAN, NAN), wilson(after, images), NAN, (NAN, NAN))
    before = float(source.mean())
    ratio = after / before if before else NAN
    ends = _ratio_interval(source, swap, resamples, rng) if before and resamples else (NAN, NAN)
    return Comparison(images, before, after, wilson(before, images), wilson(after, images), ratio, ends)


def _ratio_interval(
    source: NDArray[np.bool_], swap: NDArray[np.bool_], resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    images = len(swap)
    both, first = int((source & swap).sum()), int((source & ~swap).sum())
    second = int((~source & swap).sum())
    kinds = np.array([both, first, second, images - both - first - second]) / images
    drawn = rng.multinomial(images, kinds, size=resamples)
    below = drawn[:, 0] + drawn[:, 1]
    ratios = (drawn[:, 0] + drawn[:, 2])[below > 0] / below[below > 0]
    low, high = np.percentile(ratios, (2.5, 97.5)) if len(ratios) else (NAN, NAN)
    return float(low), float(high)
