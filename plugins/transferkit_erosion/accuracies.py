"""Forgetting and plasticity as numbers (paper 003): pure functions of accuracies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from transferkit.statistics import Estimate, ratio, sample_mean


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


def paired_forgetting(
    before: NDArray[np.bool_], after: NDArray[np.bool_], classes: NDArray[np.int64] | None = None
) -> Estimate:
    """The forgetting between the right answers of two models on the same (n,) images, with its 95 % interval.

    The images of one of the `classes` (n,) are not independent: the interval leaves out one class at a time (Student's
    t). Without them, that of the mean of the paired differences. Of these images, not of trainings. No interval below
    two classes or images. Raises ValueError for different lengths.
    """
    if len(before) != len(after):
        raise ValueError(f"the models answered {len(before)} and {len(after)} images; they must be the same ones")
    lost = before.astype(np.float64) - after.astype(np.float64)
    found = sample_mean(lost) if classes is None else ratio(lost, np.ones(len(lost)), classes)
    return replace(found, value=forgetting(float(before.mean()), float(after.mean())))


def share_of_ability_lost(
    before: NDArray[np.bool_], after: NDArray[np.bool_], classes: NDArray[np.int64], chance: float
) -> Estimate:
    """`normalised_forgetting` of the right answers on the same (n,) images, with its interval over `classes`."""
    value = normalised_forgetting(float(before.mean()), float(after.mean()), chance)
    if math.isnan(value):
        return Estimate(value)
    return replace(ratio(before.astype(np.float64) - after, before - chance, classes), value=value)


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
