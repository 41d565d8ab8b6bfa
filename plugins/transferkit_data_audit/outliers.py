"""Images that are like no others: far from their nearest neighbours, measured by what is usual in their class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.statistics import false_discovery

NEIGHBOURS = 5
FEW = 20  # images of a class below which its own spread is a guess, and that of all classes stands in
MAD = 1.4826  # times the median absolute deviation: the standard deviation of a normal distribution
LEAST = 0.05  # of the spread of log distances: five in a hundred are no oddity


def unit(features: ArrayLike) -> NDArray[np.float32]:
    """(n, d) -> the same, each column standardised, each row of length 1: products are cosines."""
    x = np.asarray(features, dtype=np.float32)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-8)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-8), dtype=np.float32)


def neighbours(rows: NDArray[np.float32], k: int, chunk: int = 1024) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(n, d) of length 1 -> the k nearest others of each, nearest first: (n, k) places and (n, k) cosines."""
    n, k = len(rows), min(k, len(rows) - 1)
    places, cosines = np.empty((n, k), np.int64), np.empty((n, k))
    for start in range(0, n, chunk):
        near = rows[start : start + chunk] @ rows.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -np.inf
        order = np.argpartition(-near, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(near, order, axis=1)
        sort = np.lexsort((order, -found), axis=1)
        places[start : start + chunk] = np.take_along_axis(order, sort, axis=1)
        cosines[start : start + chunk] = np.take_along_axis(found, sort, axis=1)
    return places, cosines


def far_off(
    features: ArrayLike, labels: ArrayLike, groups: ArrayLike, rate: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(n, d), (n,), (n,) -> (n,) which are outliers, and (n,) how many robust standard deviations each is off.

    d = mean √(2 − 2 cos) to the five nearest images of any class that are no copies (of another of the `groups`);
    z = (log d − median) / (1.4826 · MAD) of the class, of all classes where it has under 20 images. An outlier is what
    Benjamini and Hochberg's procedure calls at `rate`, from the normal tail of z. Of the nearest neighbours of any
    class, so that a wrong label alone is none. (kNN distance: Ramaswamy et al. 2000; robust z: Iglewicz and Hoaglin.)
    """
    from scipy.stats import norm

    y, members = np.asarray(labels), np.asarray(groups)
    n = len(y)
    if n <= NEIGHBOURS + 1:
        return np.zeros(n, dtype=bool), np.full(n, np.nan)
    sizes = np.unique(members, return_counts=True)[1]
    places, cosines = neighbours(unit(features), NEIGHBOURS + int(sizes.max()) - 1)
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
    distances[members[places] == members[:, None]] = np.nan
    distances.sort(axis=1)  # NaN last
    far = np.log(np.maximum(np.nanmean(distances[:, :NEIGHBOURS], axis=1), 1e-6))
    off = far - _by_class(far, y)
    spread = np.full(n, max(MAD * float(np.median(np.abs(off))), LEAST))
    for one in np.unique(y):
        if (y == one).sum() >= FEW:
            spread[y == one] = max(MAD * float(np.median(np.abs(off[y == one]))), LEAST)
    z = off / spread
    return false_discovery(norm.sf(z), rate), z


def _by_class(values: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,): the median of each one's class."""
    found = np.empty(len(values))
    for one in np.unique(labels):
        found[labels == one] = np.median(values[labels == one])
    return found
