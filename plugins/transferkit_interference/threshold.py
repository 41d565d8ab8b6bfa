"""A threshold whose rate of false alarms is bounded, from scores of clean images that were used for nothing else."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import beta
from torch import Tensor

DIGITS = 12  # 20 * (1 - 0.1) must be 18, whatever binary fractions make of it


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
    n = found.numel()
    k = math.ceil(_rounded((n + 1) * (1 - alpha))) if confidence is None else _confident(n, alpha, confidence)
    return math.inf if k > n else float(found.sort().values[k - 1])


def _confident(n: int, alpha: float, confidence: float) -> int:
    """The smallest k whose bound holds with that confidence; n + 1 when none does."""
    k = np.arange(1, n + 1)
    enough = np.round(beta.cdf(alpha, n + 1 - k, k), DIGITS) >= round(confidence, DIGITS)
    return int(k[enough][0]) if enough.any() else n + 1


def _rounded(value: float) -> float:
    """To twelve significant digits."""
    return float(f"{value:.{DIGITS}g}")
