"""Which images are marked: an exact share of every class, nested over the shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.data.randomness import numpy_rng
from transferkit.data.shares import rounded_share
from transferkit.errors import InputError
from transferkit.suggest import did_you_mean


def choose(labels: Any, ratio: float, seed: int) -> NDArray[np.int64]:
    """Sorted indices of ⌊ratio·n_c + ½⌋ of the n_c images of every class c.

    `labels` is (n,), an array or a tensor. For one seed the images of a smaller ratio are among those of a larger one:
    they are the beginning of one permutation per class, which no other class has a part in. Raises ValueError for a
    ratio outside 0..1 and for labels that are no list of whole numbers.
    """
    ids = np.asarray(labels.cpu() if hasattr(labels, "cpu") else labels)
    if not 0 <= ratio <= 1:
        raise ValueError(f"choose: the ratio must lie between 0 and 1, not {ratio}")
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"choose: labels must be whole numbers of shape (n,), not {ids.dtype} of shape {ids.shape}")
    chosen = [np.empty(0, np.int64)]
    for label in np.unique(ids).tolist():
        members = np.flatnonzero(ids == label)
        chosen.append(numpy_rng(seed, "choose", label).permutation(members)[: rounded_share(ratio, len(members))])
    return np.sort(np.concatenate(chosen))


def select_from(
    labels: NDArray[np.int64],
    classes: list[str],
    wanted: Sequence[str] | None,
    ratio: float,
    rng: np.random.Generator,
    plugin: str,
) -> NDArray[np.int64]:
    """What `choose` gives for a seed drawn from `rng`, of the classes named in `wanted` (None: of all).

    Raises InputError for the name of a class that does not exist.
    """
    found = choose(labels, ratio, int(rng.integers(1 << 62)))
    if wanted is None:
        return found
    return found[np.isin(labels[found], [class_index(name, classes, plugin) for name in wanted])]


def class_index(name: str, classes: list[str], plugin: str) -> int:
    """The label of the class with that name. Raises InputError with a suggestion."""
    if name not in classes:
        hint = did_you_mean(name, classes)
        raise InputError(f'{plugin}: there is no class called "{name}"' + (f"; {hint}" if hint else ""))
    return classes.index(name)
