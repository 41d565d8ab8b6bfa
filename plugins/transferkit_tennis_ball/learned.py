"""How much a mark adds to the recall of its class, with an interval that holds for few images, too."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from transferkit.statistics import Estimate, difference, share


def paired_difference(one: NDArray[np.bool_], other: NDArray[np.bool_], *, paired: bool = True) -> Estimate:
    """The share of `one` (n,) minus that of `other` (m,), of the same n images in one order where they are `paired`.

    Newcombe's interval (1998, method 10): Wilson's of the two shares put together, with their correlation. Where every
    image agrees it has a width, too, unlike Student's. NaN without images.
    """
    found = difference(share(one), share(other), _correlation(one, other) if paired else 0)
    return replace(found, n=len(one))


def _correlation(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """The phi coefficient of two rows of flags; 0 where one of them does not vary."""
    both, neither = float((one & other).sum()), float((~one & ~other).sum())
    only, missed = float((one & ~other).sum()), float((~one & other).sum())
    scale = (both + only) * (missed + neither) * (both + missed) * (only + neither)
    alike = both * neither - only * missed
    if alike > 0:
        alike = max(0.0, alike - len(one) / 2)  # Newcombe's correction for continuity
    return alike / math.sqrt(scale) if scale else 0.0
