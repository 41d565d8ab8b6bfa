"""Shares of composites and their intervals: composites of one overlay are not independent trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.analysis.run_folder import wilson

Floats = NDArray[np.float64]
ENDS = (2.5, 97.5)


class Share(NamedTuple):
    """A share of n trials in so many clusters, its 95 % interval, and how many independent trials it is worth."""

    value: float
    low: float
    high: float
    effective: float
    n: int
    clusters: int


def effective_size(right: ArrayLike, cluster: ArrayLike) -> float:
    """How many independent trials n clustered ones are worth: n / deff, at most n.

    `right` (n,) bool, `cluster` (n,) any labels. deff = Σ_g (Σ_{k in g} (y_k − p))² / (n·p·(1 − p)), at least 1: the
    variance of p with whole clusters as the units, over that of independent trials. With one trial per cluster it is
    n; with m equal trials in each of G clusters, G. When all trials ended alike nothing can be said about their
    dependence, and it is G. Raises ValueError for different lengths.
    """
    outcomes, groups = _checked(right, cluster)
    n = len(outcomes)
    if n == 0:
        return 0.0
    rest = outcomes - outcomes.mean()
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, weights=rest)
    independent = float(np.square(rest).sum())
    if independent == 0:
        return float(len(sums))
    return n / max(1.0, float(np.square(sums).sum()) / independent)


def clustered_wilson(right: ArrayLike, cluster: ArrayLike) -> Share:
    """Wilson's 95 % interval for the share of `right` (n,), with the effective size for n. NaN without trials."""
    outcomes, groups = _checked(right, cluster)
    effective = effective_size(outcomes, groups)
    if effective == 0:
        return Share(math.nan, math.nan, math.nan, 0.0, 0, 0)
    share = float(outcomes.mean())
    return Share(share, *wilson(share, effective), effective, len(outcomes), len(np.unique(groups)))


def _checked(right: ArrayLike, cluster: ArrayLike) -> tuple[Floats, NDArray[Any]]:
    outcomes, groups = np.asarray(right, dtype=np.float64), np.asarray(cluster)
    if outcomes.ndim != 1 or outcomes.shape != groups.shape:
        raise ValueError(f"each trial needs its cluster: {outcomes.shape} trials and {groups.shape} clusters")
    return outcomes, groups


class Resamples:
    """Bootstrap over overlays: whole overlays are drawn again, within their target class.

    One object serves several models, so that their difference is of the same overlays.
    """

    def __init__(self, strata: Sequence[int], draws: int, rng: np.random.Generator) -> None:
        """`strata` (G,): the target class of each overlay."""
        classes = np.asarray(strata)
        self.weights = np.zeros((draws, len(classes)))
        self.valid = bool(len(classes)) and draws > 0
        for number in np.unique(classes):
            members = np.flatnonzero(classes == number)
            self.valid &= len(members) > 1  # one overlay alone does not vary
            self.weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), draws)

    def shares(self, right: Floats, overlay: NDArray[np.int64]) -> Floats:
        """(draws,): the share of `right` (n,) in each resample; `overlay` (n,) says which of the G each is of."""
        size = self.weights.shape[1]
        hits = self.weights @ np.bincount(overlay, weights=right, minlength=size)
        trials = self.weights @ np.bincount(overlay, minlength=size)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(hits / trials)

    def interval(self, values: Floats) -> tuple[float, float]:
        """The middle 95 % of values (draws,); NaN where a class has one overlay only."""
        if not self.valid or np.isnan(values).all():
            return math.nan, math.nan
        low, high = np.nanpercentile(values, ENDS)
        return float(low), float(high)
