"""Which lingering classes come first: by how much of the source model's own probability is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transferkit_lingering.memory import Memories


@dataclass(frozen=True)
class Ranking:
    """Lingering classes in order, and the intervals of every class."""

    certain: NDArray[np.int64]
    """Lingering classes with enough images, the best remembered first."""
    others: NDArray[np.int64]
    """Lingering classes with too few images, most images first."""
    relative: NDArray[np.float64]
    """(K,) relative retention."""
    mean_interval: NDArray[np.float64]
    """(2, K) low and high of the mean probability."""
    relative_interval: NDArray[np.float64]
    """(2, K) low and high of the relative retention."""


def ranking(found: Memories, mean_interval: NDArray[np.float64], relative_interval: NDArray[np.float64]) -> Ranking:
    """The lingering classes by relative retention; those with too few images apart."""
    relative = found.relative_retention
    enough = found.images[found.lingering] >= found.min_images
    keys = np.where(np.isnan(relative), -np.inf, relative)
    certain, others = found.lingering[enough], found.lingering[~enough]
    return Ranking(
        certain=certain[np.argsort(-keys[certain], kind="stable")],
        others=others[np.lexsort((-keys[others], -found.images[others]))],
        relative=relative,
        mean_interval=mean_interval,
        relative_interval=relative_interval,
    )
