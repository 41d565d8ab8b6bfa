"""A threshold whose rate of false alarms is bounded, from scores of clean images that were used for nothing else."""

from __future__ import annotations

import math
from bisect import bisect_left

import torch
from scipy.stats import beta, betabinom
from torch import Tensor

DIGITS = 12  # 20 * (1 - 0.1) must be 18, whatever binary fractions make of it
LARGEST_SEARCH = 10**7


def conformal_threshold(scores: Tensor, alpha: float, confidence: float | None = None) -> float:
    """The k-th smallest of n clean scores: flag what is strictly above it. Infinity when n is too small.

    Without `confidence`, k = ⌈(n+1)(1−α)⌉: of clean inputs exchangeable with the n, at most a share `alpha` is
    flagged, on average over calibration sets. With `confidence` 1−δ, k is the smallest with
    P(Beta(n+1−k, k) ≤ α) ≥ 1−δ: the rate of this very threshold is at most `alpha` in all but a share δ of
    calibration sets. Raises ValueError for NaN and for an alpha or a confidence that is not between 0 and 1.
    """
    for name, value in (("alpha", alpha), ("confidence", confidence)):
        if value is not None and not 0 < value < 1:
            raise ValueError(f"conformal_threshold: {name} must lie between 0 and 1, not {value}")
    found = torch.as_tensor(scores).flatten()
    if bool(found.isnan().any()):
        raise ValueError("conformal_threshold: a score is NaN")
    k = _place(found.numel(), alpha, confidence)
    return math.inf if k > found.numel() else float(found.sort().values[k - 1])


def _place(n: int, alpha: float, confidence: float | None) -> int:
    """The k of `conformal_threshold`; more than n where there is none. Numbers are compared to twelve digits."""
    if confidence is None:
        return math.ceil(float(f"{(n + 1) * (1 - alpha):.{DIGITS}g}"))

    def sure(k: int) -> float:
        return round(float(beta.cdf(alpha, n + 1 - k, k)), DIGITS)

    return 1 + bisect_left(range(1, n + 1), round(confidence, DIGITS), key=sure)


def luck(size: int, alpha: float, confidence: float | None, flagged: int, images: int) -> tuple[float, float, float]:
    """What the threshold of one calibration may do without anything being wrong: (low, high, p).

    `low` to `high` hold the true rates of 95 of 100 thresholds from `size` exchangeable images (beta); `p` is how
    often such a threshold flags at least `flagged` of as many new `images` (beta-binomial).
    """
    k = _place(size, alpha, confidence)
    low, high = (float(beta.ppf(at, size + 1 - k, k)) for at in (0.025, 0.975))
    return low, high, float(betabinom.sf(flagged - 1, images, size + 1 - k, k))


def enough(alpha: float, confidence: float | None) -> int:
    """The smallest number of clean scores whose largest is a threshold with that promise."""
    return 1 + bisect_left(range(1, LARGEST_SEARCH), True, key=lambda n: _place(n, alpha, confidence) <= n)
