"""The expected calibration error, as a pure function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def bins_of(confidence: Floats, bins: int) -> NDArray[np.int64]:
    """(n,) probabilities -> (n,) bins of equal width; 1 is in the last one."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def calibration_error(confidence: Floats, right: Floats, bins: int = 10) -> float:
    """Σ_b |B_b| / n · |acc(B_b) − conf(B_b)| (Guo et al. 2017, eq. 5); NaN without images.

    `confidence` (n,) probabilities of the classes that are named, `right` (n,) 1 where that is the true one.
    """
    if not len(confidence):
        return float("nan")
    gaps = np.bincount(bins_of(confidence, bins), weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
