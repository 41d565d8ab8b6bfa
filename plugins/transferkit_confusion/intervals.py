"""Intervals of composites, which share background classes and overlays at once, and of means of class shares."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from transferkit.statistics import Estimate, jackknife, measured_share, share, sums_by

Z95 = NormalDist().inv_cdf(0.975)

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


def mean_share(hits: Ids, images: Ids, clusters: Ids) -> Estimate:
    """The mean of the shares hits / images (m,) of m classes, with Wilson's interval over the clusters they lie in.

    As wide as Student's of the means where these differ; as that of all images where they are alike.
    """
    found = jackknife(lambda total: total[0] / total[1], sums_by(clusters, hits / images, np.ones(len(hits))))
    if not found.known or found.high > found.low:
        return _as_share(found)
    if found.value in (0, 1):
        return measured_share(found.value, found.n)
    flags = np.concatenate([np.arange(n) < h for h, n in zip(hits.tolist(), images.tolist(), strict=True)])
    return share(flags, np.repeat(clusters, images))


def _as_share(found: Estimate) -> Estimate:
    """A symmetric interval of a share as Wilson's of as many trials as give one that wide."""
    if not found.known:
        return found
    trials = found.value * (1 - found.value) / ((found.high - found.low) / 2) ** 2 * Z95**2
    wilson = measured_share(found.value, trials)
    return Estimate(found.value, wilson.low, wilson.high, found.n)


def clustered_share(flags: NDArray[np.bool_], overlay: Ids, source: Ids | None = None) -> Estimate:
    """The share of flags (n,) that are true, over overlays or over both; all alike, of as many trials as clusters."""
    kinds = [overlay] if source is None else [source, overlay]
    fewest = min(len(np.unique(one)) for one in kinds)
    if fewest > 1 and (flags.all() or not flags.any()):
        return measured_share(float(flags.mean()), fewest)  # nothing varies, so there is no variance to be unsure of
    if source is None:
        return share(flags, overlay)
    return over_both(lambda by: share(flags, by), source, overlay).within(0, 1)


def over_both(of: Callable[[Ids], Estimate], source: Ids, overlay: Ids) -> Estimate:
    """What `of` finds, with an interval for other background classes and other overlays at once; `n` counts classes.

    `of` gives the interval over any clusters (n,) of composites. The variance of two-way clusters is that over one
    kind and over the other, less that over their pairs (Cameron, Gelbach and Miller), and at least either of the two.
    """
    found, other, pairs = of(source), of(overlay), of(source * (int(overlay.max(initial=0)) + 1) + overlay)
    if not (found.known and other.known):
        return Estimate(found.value, n=found.n)
    ends = []
    for end in ("low", "high"):
        one, two, both = ((getattr(each, end) - found.value) ** 2 for each in (found, other, pairs))
        ends.append(math.sqrt(max(one, two, one + two - both)))
    return Estimate(found.value, found.value - ends[0], found.value + ends[1], found.n)


def weighted_means(values: Floats, cell: Ids, weights: Floats, clusters: Ids) -> Estimate:
    """Σ weights (C,) · the mean of `values` (n,) in each cell 0 … C − 1, with the jackknife's interval over clusters.

    What leaving out a cluster changes is summed over the cells that it is in, so that many cells need no memory. No
    interval where a cell holds one cluster alone.
    """
    count = len(weights)
    sums, sizes = np.bincount(cell, values, count), np.bincount(cell, minlength=count)
    names, members = np.unique(clusters, return_inverse=True)
    pairs, place = np.unique(members * count + cell, return_inverse=True)
    own = pairs % count
    with np.errstate(invalid="ignore"):
        left = (sums[own] - np.bincount(place, values)) / (sizes[own] - np.bincount(place))
    means = sums / sizes
    value = float(weights @ means)
    each: Floats = weights[own] * (left - means[own])
    changes = sums_by(pairs // count, each)
    if not np.isfinite(changes).all():
        return Estimate(value, n=len(names))
    return jackknife(lambda total: value + total[0] + changes.sum(), -changes, np.bincount(members))
