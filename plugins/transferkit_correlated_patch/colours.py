"""One colour per class, far from one another."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray

HUES = 20
"""Up to so many classes, colours go round the circle of hues; more would be too close to one another."""


def patch_colours(num_classes: int) -> NDArray[np.uint8]:
    """(K, 3) uint8, row i the RGB colour of class i: hue i/K at full saturation and value, rounded.

    For K > 20 the first K colours, in the order of red, green and blue, of the coarsest RGB lattice with even steps
    that has K without black and white. Raises ValueError when K is below 1.
    """
    if num_classes < 1:
        raise ValueError(f"patch_colours: there must be at least one class, not {num_classes}")
    return np.array(_colours(num_classes), dtype=np.uint8)


@lru_cache(maxsize=16)
def _colours(count: int) -> tuple[tuple[int, int, int], ...]:
    if count <= HUES:
        return tuple(_hue(index / count) for index in range(count))
    levels = 2
    while levels**3 - 2 < count:
        levels += 1
    steps = [round(255 * level / (levels - 1)) for level in range(levels)]
    coloured = (point for point in product(steps, repeat=3) if point not in ((0, 0, 0), (255, 255, 255)))
    return tuple(islice(coloured, count))  # type: ignore[arg-type]  # product(repeat=3) gives triples


def _hue(hue: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, 1, 1)
    return round(255 * red), round(255 * green), round(255 * blue)
