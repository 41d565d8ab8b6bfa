"""How far means over rows could be off: a bootstrap that draws the same rows for everything, so gaps are paired."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]


class Interval(NamedTuple):
    """A mean with its 95 % interval; NaN where there is none."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


NONE = Interval(math.nan)


class Resampled:
    """Resamples of n rows, drawn once."""

    def __init__(self, rows: int, resamples: int, rng: np.random.Generator) -> None:
        self._counts = rng.multinomial(rows, np.full(rows, 1 / rows), size=resamples) if resamples else None

    def mean(self, values: Numbers) -> Interval:
        """The mean of (n,) values, with the percentiles 2.5 and 97.5 of the resamples' means."""
        wide = np.asarray(values, np.float64)
        if self._counts is None:
            return Interval(float(wide.mean()))
        low, high = np.percentile(self._counts @ wide / len(wide), (2.5, 97.5))
        return Interval(float(wide.mean()), float(low), float(high))
