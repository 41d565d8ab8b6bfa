"""Learning rates from a range test: the curve smoothed, where it falls fastest, and a head's limit. Plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SMOOTHING = 0.9  # share of the mean so far in each new one
RUINED = 4.0  # times the smallest loss so far, at which the test ends
LEAST_FALL = 0.02  # share of the first loss by which a curve must fall to say anything
AROUND = (1 / 3, 1.0, 3.0)  # of the suggestion: the rates of the three short runs


def rates(low: float, high: float, steps: int) -> list[float]:
    """Rates that grow by the same factor at each step, from `low` to `high`."""
    return [float(one) for one in np.geomspace(low, high, steps)]


def smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    """Exponential means, corrected for their start as Adam's: the first is the first loss."""
    found, mean = [], 0.0
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**step))
    return np.asarray(found, dtype=np.float64)


def ruined(losses: Sequence[float]) -> bool:
    """Whether the smoothed loss is so far above its smallest that larger rates say nothing more."""
    curve = smoothed(losses)
    return bool(len(curve) > 10 and curve[-1] > RUINED * curve.min())


@dataclass(frozen=True)
class Suggested:
    """A rate to try, and the two that it lies between: where the loss falls fastest, and where it is smallest."""

    rate: float
    steepest: float
    smallest: float


def suggestion(tried: Sequence[float], losses: Sequence[float]) -> Suggested | None:
    """From a range test: where the smoothed loss falls fastest over the logarithm of the rate, before it is smallest,
    but at most a tenth of where it is smallest, which is already too much for long. None where it does not fall.
    """
    finite = [(rate, loss) for rate, loss in zip(tried, losses, strict=False) if np.isfinite(loss)]
    if len(finite) < 5:
        return None
    x, curve = np.log([rate for rate, _ in finite]), smoothed([loss for _, loss in finite])
    lowest = int(curve.argmin())
    if lowest < 2 or curve[0] - curve[lowest] < LEAST_FALL * abs(curve[0]):
        return None
    steepest = int(np.gradient(curve[: lowest + 1], x[: lowest + 1]).argmin())
    rate = min(np.exp(x[steepest]), np.exp(x[lowest]) / 10)
    return Suggested(float(rate), float(np.exp(x[steepest])), float(np.exp(x[lowest])))


def curvature(features: Tensor) -> float:
    """At least the largest curvature of softmax cross entropy in the weights and bias of a head over features (n, d).

    Of one image it is (diag(p) - p pᵀ) ⊗ f fᵀ, and no eigenvalue of the first factor is above ½; so it is at most
    ½ λmax of the features' second moment, the bias counted as a feature of 1.
    """
    wide = torch.cat([features.double(), features.new_ones(len(features), 1, dtype=torch.float64)], dim=1)
    small = wide @ wide.T if len(wide) < wide.shape[1] else wide.T @ wide  # the same eigenvalues but zeros
    return float(torch.linalg.eigvalsh(small)[-1]) / len(wide) / 2


def stability_limit(features: Tensor, momentum: float, *, nesterov: bool) -> float:
    """The largest rate at which SGD on a softmax head over features (n, d) is certainly stable.

    On a quadratic of curvature λ heavy ball is stable below 2 (1 + m) / λ, Nesterov's form below
    2 (1 + m) / ((1 + 2m) λ), and both without momentum below 2 / λ.
    """
    return 2 * (1 + momentum) / ((1 + 2 * momentum if nesterov else 1.0) * curvature(features))
