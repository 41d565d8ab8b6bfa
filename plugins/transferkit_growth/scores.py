"""What was forgotten of the old classes, and in which of two ways, as a pure function of right answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from transferkit.statistics import Estimate, paired_difference, ratio


@dataclass(frozen=True)
class Forgetting:
    """Shares of right answers on old images that are gone: `total` is `confused` + `lost`. Intervals over images."""

    total: Estimate
    confused: Estimate
    """Right among the old classes alone, but a new class has a larger logit."""
    lost: Estimate
    """Before, less right among the old classes alone; negative where that grew."""
    over_classes: Estimate
    """The total, with the interval over classes: as if they were drawn from more."""


def forgetting(before: ArrayLike, among_old: ArrayLike, after: ArrayLike, classes: ArrayLike) -> Forgetting:
    """Right answers (n,) on the same images: of the old model, of the grown one among the old classes, and among all.

    Differences are paired by image, with Newcombe's interval of 95 %; the one over `classes` (n,) leaves out one class
    at a time. Raises ValueError for different lengths, and for images that are right among all classes and wrong among
    the old ones.
    """
    was, old, now = (np.asarray(flags, dtype=bool) for flags in (before, among_old, after))
    if not len(was) == len(old) == len(now) == len(np.asarray(classes)):
        raise ValueError(f"right answers on {len(was)}, {len(old)} and {len(now)} images; they must be the same ones")
    if (now & ~old).any():
        raise ValueError("what is right among all classes is right among the old ones")
    gone = was.astype(np.float64) - now
    whole = ratio(gone, np.ones(len(gone)), classes) if len(gone) else Estimate(float("nan"))
    return Forgetting(paired_difference(now, was), paired_difference(now, old), paired_difference(old, was), whole)
