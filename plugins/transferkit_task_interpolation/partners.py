"""Which source image a target image meets: at random, or as an optimal coupling says; a function of keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Rng = Callable[..., np.random.Generator]
Indices = NDArray[np.int64]
KEPT = 16  # draws for a whole epoch that are kept; weighted sampling has several keys per epoch


class RandomPartners:
    """A permutation of the source images for every key; all are used equally often within an epoch, up to one."""

    def __init__(self, rng: Rng, targets: int, sources: int) -> None:
        self._rng, self._targets, self._sources = rng, targets, sources
        self._of = lru_cache(maxsize=KEPT)(self._draw)

    def __call__(self, indices: Indices, keys: Indices) -> Indices:
        """Target images and the keys of their augmentation, both (n,), to source images (n,)."""
        return _by_key(self._of, indices, keys)

    def _draw(self, key: int) -> Indices:
        rounds = -(-self._targets // self._sources)
        rng = self._rng("partners", key)
        return np.concatenate([rng.permutation(self._sources) for _ in range(rounds)])[: self._targets]


@dataclass(frozen=True)
class SparseCoupling:
    """The nonzero cells of a coupling by target image: row i is cells starts[i] … starts[i+1]."""

    starts: Indices
    sources: Indices
    shares: NDArray[np.float64]
    """Of the row: what each cell holds of it."""


class CoupledPartners:
    """A draw from the target image's row of the coupling for every key; with one cell in it, always that one."""

    def __init__(self, rng: Rng, coupling: SparseCoupling) -> None:
        self._rng, self._coupling = rng, coupling
        rows = np.repeat(np.arange(len(coupling.starts) - 1), np.diff(coupling.starts))
        before = np.concatenate([[0.0], np.cumsum(coupling.shares)])[coupling.starts[:-1]]
        # row number + cumulative share within the row: one ascending list for all rows
        self._ends = rows + (np.cumsum(coupling.shares) - before[rows])
        self._of = lru_cache(maxsize=KEPT)(self._draw)

    def __call__(self, indices: Indices, keys: Indices) -> Indices:
        """Target images and the keys of their augmentation, both (n,), to source images (n,)."""
        return _by_key(self._of, indices, keys)

    def _draw(self, key: int) -> Indices:
        starts = self._coupling.starts
        rows = np.arange(len(starts) - 1)
        cells = np.searchsorted(self._ends, rows + self._rng("partners", key).random(len(rows)), side="right")
        return self._coupling.sources[np.clip(cells, starts[:-1], starts[1:] - 1)]


def _by_key(of: Callable[[int], Indices], indices: Indices, keys: Indices) -> Indices:
    found = np.empty(len(indices), dtype=np.int64)
    for key in np.unique(keys):
        chosen = keys == key
        found[chosen] = of(int(key))[indices[chosen]]
    return found
