"""Which images choose, fit, calibrate and evaluate: keyed splits, so that no image does two of these by accident."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transferkit.data.randomness import key

Mask = NDArray[np.bool_]


def source_halves(labels: NDArray[np.int64], ids: Sequence[str], seed: int) -> tuple[Mask, Mask]:
    """(n,) and (n,): source images that choose classes and fit, and those that evaluate.

    Each class is cut in two by a keyed order, the odd image fits; so an image that is alone in its class fits.
    """
    fit = np.zeros(len(labels), dtype=bool)
    for number in np.unique(labels).tolist():
        members = sorted(np.flatnonzero(labels == number).tolist(), key=lambda i: _rank(seed, "source half", ids[i]))
        fit[members[: (len(members) + 1) // 2]] = True
    return fit, ~fit


def calibration_share(ids: Sequence[str], share: float, seed: int) -> tuple[Mask, Mask]:
    """(n,) and (n,): clean images that set the threshold, and the rest. A keyed choice of ⌊share·n + ½⌋ of all.

    Not by class: the images must be drawn like the inputs that are to come.
    """
    order = sorted(range(len(ids)), key=lambda i: _rank(seed, "calibration", ids[i]))
    chosen = np.zeros(len(ids), dtype=bool)
    chosen[order[: math.floor(share * len(ids) + 0.5)]] = True
    return chosen, ~chosen


def some(ids: Sequence[str], among: Mask, limit: int, seed: int) -> NDArray[np.int64]:
    """(m,) sorted indices: all of `among`, or a keyed choice of `limit` of them."""
    members = np.flatnonzero(among).tolist()
    if len(members) > limit:
        members = sorted(members, key=lambda i: _rank(seed, "fit", ids[i]))[:limit]
    return np.array(sorted(members), dtype=np.int64)


def _rank(seed: int, what: str, image_id: str) -> tuple[int, str]:
    return key(seed, "interference", what, image_id), image_id
