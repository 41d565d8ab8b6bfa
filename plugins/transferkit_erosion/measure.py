"""Forgetting and plasticity as numbers (paper 003): pure functions of accuracies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054


def forgetting(before: float, after: float) -> float:
    """How much accuracy was lost: before − after, in 0..1; negative where it was gained."""
    return before - after


def normalised_forgetting(before: float, after: float, chance: float) -> float:
    """The share of what was above chance that is lost: (before − after) / (before − chance).

    1 means down to guessing, 0 nothing lost. NaN where there was nothing above chance to lose.
    """
    if not before > chance:
        return math.nan
    return (before - after) / (before - chance)


def paired_interval(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[float, float]:
    """The 95 % interval of mean(first) − mean(second) for right answers of two models on the same (n,) images.

    Normal approximation of the mean of the paired differences; of these images, not of trainings. NaN below two.
    """
    if len(first) != len(second):
        raise ValueError(f"the models answered {len(first)} and {len(second)} images; they must be the same ones")
    difference = first.astype(np.float64) - second.astype(np.float64)
    if len(difference) < 2:
        return math.nan, math.nan
    half = Z95 * float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return float(difference.mean()) - half, float(difference.mean()) + half


@dataclass(frozen=True)
class Plasticity:
    """How a network that was trained before learns, against one that starts anew on the same budget.

    final_gap   accuracy of scratch minus this one at the end; positive means plasticity was lost
    mean_gap    the same averaged over epochs (the area between the curves)
    epochs      until it has `share` of scratch's final accuracy; NaN where it never does
    """

    final_gap: float
    mean_gap: float
    epochs: float


def plasticity(relearned: Sequence[float], scratch: Sequence[float], share: float = 0.95) -> Plasticity:
    """Accuracy after each epoch of relearning and of training from scratch, on the same budget.

    Raises ValueError for curves that are empty or of different lengths.
    """
    if not relearned or len(relearned) != len(scratch):
        raise ValueError(f"the curves have {len(relearned)} and {len(scratch)} epochs; the budgets must be equal")
    reached = [epoch + 1 for epoch, accuracy in enumerate(relearned) if accuracy >= share * scratch[-1]]
    gaps = [anew - again for anew, again in zip(scratch, relearned, strict=True)]
    return Plasticity(gaps[-1], sum(gaps) / len(gaps), float(reached[0]) if reached else math.nan)
