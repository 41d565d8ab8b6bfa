"""LIME for rows of numbers: a weighted linear model of a black box around one row (Ribeiro et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]
Predict = Callable[[Numbers], Numbers]
WIDTH = 0.75  # of the kernel, times the root of the number of columns: the reference implementation's


def lime(
    predict: Predict,
    x0: Numbers,
    scale: Numbers,
    samples: int,
    rng: np.random.Generator,
    ridge: float = 1e-8,
) -> NDArray[np.float64]:
    """(d,) float64: by how much the answer grows per unit of each column, around the row `x0` (d,).

    The row itself and `samples` - 1 others, each column moved by normal noise of standard deviation `scale` (d,), are
    predicted ((m, d) -> (m,)), weighted by exp(-D² / (0.75 √d)²) with D their distance in standard deviations, and
    fitted by ridge regression with an unpenalised intercept. Exact on a linear model up to `ridge`, which is relative
    to the sum of the weights. A column of scale 0 never moves: its coefficient is 0. Raises ValueError for shapes that
    do not fit and for fewer than two samples.
    """
    x0, scale = np.asarray(x0, np.float64), np.asarray(scale, np.float64)
    if x0.ndim != 1 or scale.shape != x0.shape or samples < 2:
        raise ValueError(f"one row, one scale per column and two samples are needed, not {x0.shape}, {scale.shape}")
    noise = rng.standard_normal((samples, len(x0)))
    noise[0] = 0
    noise[:, scale == 0] = 0
    answers = np.asarray(predict(x0 + noise * scale), np.float64).reshape(-1)
    if len(answers) != samples:
        raise ValueError(f"predict gave {len(answers)} answers for {samples} rows")
    weights = np.exp(-(noise**2).sum(axis=1) / (WIDTH**2 * len(x0)))
    weights /= weights.sum()
    centred = noise - weights @ noise
    gram = (centred * weights[:, None]).T @ centred + ridge * np.eye(len(x0))
    slopes = np.linalg.solve(gram, centred.T @ (weights * (answers - weights @ answers)))
    return np.divide(slopes, scale, out=np.zeros_like(slopes), where=scale > 0)
