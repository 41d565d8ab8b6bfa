"""Which images make the composites: the surest overlays, the most surely biased backgrounds, two halves of a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.data import key
from transferkit.statistics import share_of

GROUPS = ("with", "neutral", "against")
SURE = 0.9  # of the interval whose ends rank: each end alone holds with 95 %

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Background:
    """A source class behind overlays of one target class."""

    target: int
    group: str
    source: int
    bias: float
    """The share of the source class's images that is taken for the target class, of those that chose."""
    index: float
    """How one-sided its vote is: 0 even, 1 all for one class."""


def pick_overlays(probabilities: ArrayLike, labels: Ids, ids: Sequence[str], wanted: int) -> dict[int, list[int]]:
    """Per target class the images recognised best by all models: {class: up to `wanted` indices, best first}.

    `probabilities` (models, n) of the correct class, `labels` (n,). Best means the largest minimum over the models;
    ties by id.
    """
    least = np.asarray(probabilities, dtype=np.float64).min(axis=0)
    return {
        int(number): sorted(np.flatnonzero(labels == number).tolist(), key=lambda i: (-least[i], ids[i]))[:wanted]
        for number in np.unique(labels)
    }


def bounds(votes: ArrayLike) -> NDArray[np.float64]:
    """(K_s, K_t) votes -> (2, K_s, K_t): how low and how high each share may be, by Wilson; NaN without votes.

    What few images say is far from either end: two of two are at least 0.43, eighteen of twenty at least 0.74.
    """
    counts = np.asarray(votes, dtype=np.int64)
    pairs = np.stack(np.broadcast_arrays(counts, counts.sum(axis=1, keepdims=True)), axis=-1).reshape(-1, 2)
    kinds, place = np.unique(pairs, axis=0, return_inverse=True)
    found = [share_of(hits, images, SURE) for hits, images in kinds.tolist()]
    ends = np.array([[one.low for one in found], [one.high for one in found]])
    return ends[:, place.ravel()].reshape(2, *counts.shape)


def pick_backgrounds(
    bias: ArrayLike, eligible: Sequence[int], target: int, extremes: int, neutral: int, ends: ArrayLike | None = None
) -> list[Background]:
    """Source classes behind overlays of class `target`: with it, neutral, against it.

    `bias` (K_s, K_t) are shares of votes, `eligible` the source classes to choose from, `ends` (2, K_s, K_t) how low
    and high each share may be (`bounds`); without them shares are taken as they are. `with` are those whose share of
    the target class is largest at its low end; `against` those where it is smallest at its high end and, of these, the
    most one-sided (with two classes: the most biased towards the other); `neutral` those whose vote is most even even
    at its high end. Ties by class id; no class is in two groups. With fewer classes than wanted the groups shrink
    alike; below three there are none.
    """
    shares = np.asarray(bias, dtype=np.float64)
    low, high = (shares, shares) if ends is None else np.asarray(ends, dtype=np.float64)
    candidates = sorted(int(number) for number in eligible)
    most = min(extremes, len(candidates) // 3)
    if most == 0:
        return []
    even = 1 / shares.shape[1]
    towards = sorted(candidates, key=lambda i: (-low[i, target], i))[:most]
    rest = [i for i in candidates if i not in towards]
    against = sorted(rest, key=lambda i: (high[i, target], -low[i].max(), i))[:most]
    rest = [i for i in rest if i not in against]
    middle = sorted(rest, key=lambda i: (high[i].max(), i))[:neutral]
    chosen = zip(GROUPS, (towards, middle, against), strict=True)
    return [
        Background(target, group, i, float(shares[i, target]), float((shares[i].max() - even) / (1 - even)))
        for group, found in chosen
        for i in found
    ]


def within(picked: Sequence[Background], limit: int, most: int, seed: int) -> tuple[list[Background], int]:
    """At most `most` composites: (backgrounds, limit of each), where there are too many with a lower limit.

    Of more backgrounds than `most` those of a keyed choice of target classes are kept, at least of one.
    """
    kept = list(picked)
    if len(kept) > most:
        pairs = Counter(one.target for one in picked)
        order = sorted(pairs, key=lambda target: (key(seed, "confusion target", target), target))
        total = accumulate(pairs[target] for target in order)
        chosen = {order[0], *(target for target, count in zip(order, total, strict=True) if count <= most)}
        kept = [one for one in picked if one.target in chosen]
    return kept, max(1, min(limit, most // len(kept)))


def halves(labels: Ids, ids: Sequence[str], seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n,) and (n,): images that choose their class, and images that are held out of the choice.

    Every class is cut in two by a keyed order; of an odd number the odd one chooses, so a lone image is never held out.
    """
    choosing = np.zeros(len(labels), dtype=bool)
    for number in np.unique(labels).tolist():
        own = np.flatnonzero(labels == number).tolist()
        members = sorted(own, key=lambda i: (key(seed, "confusion half", number, ids[i]), ids[i]))
        choosing[members[: (len(members) + 1) // 2]] = True
    return choosing, ~choosing
