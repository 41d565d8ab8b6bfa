"""Bootstrap intervals of class means, for all classes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Ids = NDArray[np.int64]

CELLS = 4_000_000  # numbers held at a time
ENDS = (2.5, 97.5)


def mean_intervals(
    values: Values, labels: Ids, num_classes: int, resamples: int, rng_of: Callable[[int], np.random.Generator]
) -> tuple[Values, Values]:
    """95 % percentile intervals of the mean of `values` (n,) over each class's images: low and high, both (K,).

    NaN for classes of fewer than two images, whose spread nobody knows. `rng_of(size)` gives the generator for all
    classes of that many images, so a class's interval does not depend on the others.
    """
    low, high = np.full(num_classes, np.nan), np.full(num_classes, np.nan)
    for ids, means in _resampled([values], labels, resamples, rng_of):
        low[ids], high[ids] = np.percentile(means[0], ENDS, axis=1)
    return low, high


def ratio_intervals(
    above: Values, below: Values, labels: Ids, num_classes: int, resamples: int,
    rng_of: Callable[[int], np.random.Generator],
) -> tuple[Values, Values]:  # fmt: skip
    """The same of mean(above) / mean(below), both (n,), resampling the images of both together."""
    low, high = np.full(num_classes, np.nan), np.full(num_classes, np.nan)
    for ids, means in _resampled([above, below], labels, resamples, rng_of):
        with np.errstate(divide="ignore", invalid="ignore"):
            low[ids], high[ids] = np.percentile(means[0] / means[1], ENDS, axis=1)
    return low, high


def _resampled(
    series: list[Values], labels: Ids, resamples: int, rng_of: Callable[[int], np.random.Generator]
) -> Iterator[tuple[Ids, list[Values]]]:
    """(class ids, their resampled means (ids, resamples) per series), classes of equal size together."""
    if resamples < 1 or not len(labels):
        return
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes[sizes > 1]).tolist():
        ids = np.flatnonzero(sizes == size)
        for part in np.array_split(ids, -(-len(ids) * max(size, resamples) // CELLS)):
            members = order[starts[part][:, None] + np.arange(size)]
            means: list[list[Values]] = [[] for _ in series]
            for weights in _weights(size, resamples, rng_of(size)):
                for found, values in zip(means, series, strict=True):
                    found.append(values[members] @ weights.T)
            yield part, [np.concatenate(found, axis=1) for found in means]


def _weights(size: int, resamples: int, rng: np.random.Generator) -> Iterator[Values]:
    """How often each of `size` images is drawn, over `size`: (resamples, size), in pieces."""
    at_once = max(1, CELLS // size)
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        yield rng.multinomial(size, np.full(size, 1 / size), size=draws) / size
