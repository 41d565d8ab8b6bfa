"""LIME for rows of numbers: a weighted linear model of a black box around one row (Ribeiro et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from transferkit_spurious.interventions import Numbers

Predict = Callable[[Numbers], Numbers]
WIDTH = 0.75  # of the kernel, times the root of the number of columns: the reference implementation's
RIDGE = 1e-8


def lime(
    predict: Predict, x0: Numbers, scale: Numbers, samples: int, rng: np.random.Generator, ridge: float = RIDGE
) -> NDArray[np.float64]:
    """(d,) float64: by how much the answer grows per unit of each column, around the row `x0` (d,).

    The row itself and `samples` - 1 others, each column moved by normal noise of standard deviation `scale` (d,), are
    predicted ((m, d) -> (m,)), weighted by exp(-D² / (0.75 √d)²) with D their distance in standard deviations, and
    fitted by ridge regression with an unpenalised intercept. Exact on a linear model up to `ridge`, which is relative
    to the sum of the weights. A column of scale 0 never moves: its coefficient is 0. Raises ValueError for shapes that
    do not fit and for fewer than two samples.
    """
    return _explain(predict, x0, scale, samples, rng, ridge)[0]


def lime_with_floor(
    predict: Predict, x0: Numbers, scale: Numbers, samples: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(d,) twice: `lime`'s coefficients, and how large each would be on average, without its sign, were it noise.

    Each half of the perturbed rows is fitted on its own: the halves' difference has twice the spread of the whole's
    error. The floor is NaN where half the samples are no more than the columns.
    """
    slopes, noise, answers = _explain(predict, x0, scale, samples, rng)
    half = samples // 2
    if half <= len(slopes) + 1:
        return slopes, np.full_like(slopes, np.nan)
    scale = np.asarray(scale, np.float64)
    one, other = (_fit(noise[part], answers[part], scale) for part in (slice(0, half), slice(half, None)))
    return slopes, np.abs(one - other) / 2


def _explain(
    predict: Predict, x0: Numbers, scale: Numbers, samples: int, rng: np.random.Generator, ridge: float = RIDGE
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients (d,), the noise (samples, d) in standard deviations, and the answers (samples,)."""
    x0, scale = np.asarray(x0, np.float64), np.asarray(scale, np.float64)
    if x0.ndim != 1 or scale.shape != x0.shape or samples < 2:
        raise ValueError(f"one row, one scale per column and two samples are needed, not {x0.shape}, {scale.shape}")
    noise = rng.standard_normal((samples, len(x0)))
    noise[0] = 0
    noise[:, scale == 0] = 0
    answers = np.asarray(predict(x0 + noise * scale), np.float64).reshape(-1)
    if len(answers) != samples:
        raise ValueError(f"predict gave {len(answers)} answers for {samples} rows")
    return _fit(noise, answers, scale, ridge), noise, answers


def _fit(
    noise: NDArray[np.float64], answers: NDArray[np.float64], scale: Numbers, ridge: float = RIDGE
) -> NDArray[np.float64]:
    """Weighted ridge regression of the answers on the noise, per unit of each column."""
    weights = np.exp(-(noise**2).sum(axis=1) / (WIDTH**2 * noise.shape[1]))
    weights /= weights.sum()
    centred = noise - weights @ noise
    gram = (centred * weights[:, None]).T @ centred + ridge * np.eye(noise.shape[1])
    slopes = np.linalg.solve(gram, centred.T @ (weights * (answers - weights @ answers)))
    return np.divide(slopes, scale, out=np.zeros_like(slopes), where=scale > 0)
