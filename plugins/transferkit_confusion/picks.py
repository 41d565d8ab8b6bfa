"""Which images make the composites: the surest overlays, the most biased backgrounds, two halves of a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.data.randomness import key

GROUPS = ("with", "neutral", "against")
HALVED = 4  # images that a class must have to be halved

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Background:
    """A source class behind overlays of one target class."""

    target: int
    group: str
    source: int
    bias: float
    """The share of the source class's images that is taken for the target class."""
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


def pick_backgrounds(
    bias: ArrayLike, eligible: Sequence[int], target: int, extremes: int, neutral: int
) -> list[Background]:
    """Source classes behind overlays of class `target`: with it, neutral, against it.

    `bias` (K_s, K_t) are shares of votes, `eligible` the source classes to choose from. `with` are those with the
    largest share of the target class; `against` those with the smallest and, of these, the most one-sided (with two
    classes: the most biased towards the other); `neutral` those with the most even vote. Ties by class id; no class
    is in two groups. With fewer classes than wanted the groups shrink alike; below three there are none.
    """
    shares = np.asarray(bias, dtype=np.float64)
    candidates = sorted(int(number) for number in eligible)
    most = min(extremes, len(candidates) // 3)
    if most == 0:
        return []
    even = 1 / shares.shape[1]
    index = {i: float((shares[i].max() - even) / (1 - even)) for i in candidates}
    towards = sorted(candidates, key=lambda i: (-shares[i, target], i))[:most]
    rest = [i for i in candidates if i not in towards]
    against = sorted(rest, key=lambda i: (shares[i, target], -index[i], i))[:most]
    rest = [i for i in rest if i not in against]
    middle = sorted(rest, key=lambda i: (index[i], i))[:neutral]
    chosen = zip(GROUPS, (towards, middle, against), strict=True)
    return [Background(target, group, i, float(shares[i, target]), index[i]) for group, found in chosen for i in found]


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
    """(n,) and (n,): images that bias is measured on, and images that are pasted on.

    A class of at least four images is cut in two by a keyed order, the odd one measured; smaller classes are in both.
    """
    measured, pasted = np.ones(len(labels), dtype=bool), np.ones(len(labels), dtype=bool)
    for number in np.unique(labels).tolist():
        members = sorted(np.flatnonzero(labels == number).tolist(), key=lambda i: _rank(seed, number, ids[i]))
        if len(members) >= HALVED:
            cut = (len(members) + 1) // 2
            measured[members[cut:]], pasted[members[:cut]] = False, False
    return measured, pasted


def _rank(seed: int, number: int, image_id: str) -> tuple[Any, ...]:
    return key(seed, "confusion half", number, image_id), image_id
