"""Which images of a data set are used: a fraction per class, and a validation split carved from train."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transferkit.data.randomness import numpy_rng
from transferkit.data.shares import rounded_share
from transferkit.errors import InputError

Indices = NDArray[np.int64]


def per_class_fraction(
    labels: Sequence[int] | Indices, fraction: float, seed: int, classes: Sequence[str] | None = None
) -> Indices:
    """Sorted indices of floor(fraction * n_c + 1/2) images of every class c.

    For one seed a smaller fraction is a subset of a larger one. Raises InputError, naming the class (by its
    name where `classes` is given), when a class that has images would be left with none.
    """
    kept = []
    for label, members in _by_class(labels):
        count = rounded_share(fraction, len(members))
        if count == 0:
            name = repr(classes[label]) if classes is not None else str(label)
            raise InputError(
                f"fraction {fraction:g} leaves no image of the class {name}, which has {len(members)}; "
                f"at least {0.5 / len(members):.3g} is needed"
            )
        kept.append(_shuffled(members, seed, "fraction", label)[:count])
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, np.int64)


def carve_validation(labels: Sequence[int] | Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """Sorted indices (train, val) with floor(share * n_c + 1/2) images of every class in val.

    A class with two images or more keeps at least one on either side; a single image stays in train.
    A share of 0 carves nothing.
    """
    held_out = []
    for label, members in _by_class(labels):
        if share <= 0 or len(members) < 2:
            continue
        count = min(max(rounded_share(share, len(members)), 1), len(members) - 1)
        held_out.append(_shuffled(members, seed, "validation", label)[:count])
    val = np.sort(np.concatenate(held_out)) if held_out else np.empty(0, np.int64)
    train = np.setdiff1d(np.arange(len(labels), dtype=np.int64), val, assume_unique=True)
    return train, val


def _by_class(labels: Sequence[int] | Indices) -> list[tuple[int, Indices]]:
    array = np.asarray(labels)
    return [(int(label), np.flatnonzero(array == label)) for label in np.unique(array)]


def _shuffled(members: Indices, seed: int, purpose: str, label: int) -> Indices:
    return numpy_rng(seed, purpose, label).permutation(members)
