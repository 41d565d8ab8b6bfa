"""Evidence that may be looked at after every image, for ever: has a stream more flags than clean images have?

The hypothesis: whatever came before, an image is flagged with a probability of at most r. A flag then multiplies a
stake by θ/r and its absence by (1 − θ)/(1 − r), for an alternative θ > r; on average that wins nothing, so by Ville's
inequality the stakes together ever reach 1/α with a probability of at most α. Many stakes play at once: one for each
of several θ and for each image from which on the stream may have changed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.statistics import NAN, Estimate

if TYPE_CHECKING:
    Floats = NDArray[np.float64]

ODDS = (1.3, 1.6, 2.0, 3.0, 5.0, 10.0, 30.0)
"""How many times the odds of the hypothesis each alternative's are; each has the same share of the stake."""
MOST = 1e300  # a stake may grow so far and no further


class Evidence:
    """E-values against rates r of any shape (…): each starts at 1 and is a martingale where the rate is just r.

    What is seen of a unit is a share between 0 and 1: of one image whether it was flagged, of a block the share that
    was. Only its mean counts, so the images of a block may depend on each other in any way.
    """

    def __init__(self, rates: ArrayLike) -> None:
        r = np.asarray(rates, dtype=np.float64)[..., None]
        if not ((r > 0) & (r < 1)).all():
            raise ValueError("a rate lies strictly between 0 and 1")
        odds = np.asarray(ODDS) * r / (1 - r)
        theta = odds / (1 + odds)
        self._without = (1 - theta) / (1 - r)
        self._step = theta / r - self._without
        self.units = 0
        self.stakes: Floats = np.zeros(theta.shape)
        """(…, alternatives): what those have that have begun; the others still hold 1/log2(units + 2)."""
        self.rise: Floats = np.zeros(theta.shape)
        """The logarithm of what the best beginning would have won so far: Page's cumulative sum."""

    def update(self, shares: ArrayLike) -> NDArray[np.bool_]:
        """Take in one more unit; (…, alternatives) where `rise` began with it."""
        factor = self._without + self._step * np.asarray(shares, dtype=np.float64)[..., None]
        self.stakes = np.minimum((self.stakes + _left(self.units) - _left(self.units + 1)) * factor, MOST)
        self.units += 1
        begun: NDArray[np.bool_] = self.rise <= 0
        self.rise = np.maximum(self.rise + np.log(factor), 0)
        return begun

    @property
    def values(self) -> Floats:
        """(…): the e-values. The chance that one ever reaches 1/α is at most α under its hypothesis."""
        found: Floats = self.stakes.mean(axis=-1) + _left(self.units)
        return found

    def to_json(self) -> dict[str, Any]:
        """All that it knows, for `restore`."""
        return {"units": self.units, "stakes": self.stakes.tolist(), "rise": self.rise.tolist()}

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from there. Raises ValueError for what is not of this shape."""
        units = content["units"]
        stakes, rise = (np.asarray(content[name], dtype=np.float64) for name in ("stakes", "rise"))
        if stakes.shape != self.stakes.shape or rise.shape != self.rise.shape or not isinstance(units, int):
            raise ValueError("evidence of another shape")
        if units < 0 or not (np.isfinite(stakes).all() and np.isfinite(rise).all() and (stakes >= 0).all()):
            raise ValueError("evidence that no stream gives")
        self.units, self.stakes, self.rise = units, stakes, rise


def _left(units: int) -> float:
    """The share of the stake that has not begun after so many units: late changes cost only a logarithm."""
    return 1 / math.log2(units + 2)


def luck_bound(above: int, size: int, error: float) -> float:
    """What the true rate is at most, but for `error` of calibrations, where `above` of `size` scores were larger.

    The threshold is one of the scores itself, the (size − above)-th: its rate is Beta(above + 1, size − above). It is
    also what the probability of an event is at most that `above` of `size` images had (Clopper and Pearson, one-sided).
    """
    from scipy.special import betaincinv

    return float(betaincinv(above + 1, size - above, 1 - error)) if above < size else 1.0


def rate_always(total: float, units: int, error: float = 0.05) -> Estimate:
    """The mean of `units` shares that sum to `total`, with an interval that holds at every time at once.

    For a rate that stays the same: the chance that the interval ever leaves it out is at most `error` (Robbins'
    mixture with Jeffreys' Beta(½, ½)). NaN without units.
    """
    from scipy.optimize import brentq
    from scipy.special import betaln, xlog1py, xlogy

    if not units:
        return Estimate(NAN)
    mixed = betaln(0.5 + total, 0.5 + units - total) - betaln(0.5, 0.5)
    value = total / units

    def beyond(rate: float) -> float:
        return float(mixed - xlogy(total, rate) - xlog1py(units - total, -rate) + math.log(error))

    tiny = 1e-12
    low = brentq(beyond, tiny, value) if value > tiny and beyond(tiny) > 0 else 0.0
    high = brentq(beyond, value, 1 - tiny) if value < 1 - tiny and beyond(1 - tiny) > 0 else 1.0
    return Estimate(value, float(low), float(high), units)
