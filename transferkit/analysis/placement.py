"""Where an overlay goes: a function of its arguments alone, the same for every model, batch and worker."""

from __future__ import annotations

import math

from transferkit.data.randomness import numpy_rng


def place_overlay(
    seed: int, source_class: int, image_id: str, repeat: int, pool_size: int, image_size: int, scale: float
) -> tuple[int, int, int, int]:
    """Which overlay is pasted on a source image, and where: (overlay index, top, left, side).

    The overlay is drawn uniformly from 0..pool_size-1, the offsets from 0..image_size-side inclusive;
    side = ⌊scale·image_size + ½⌋ pixels of a square image. Raises ValueError for an empty pool and for an
    overlay of no pixels or larger than the image.
    """
    side = math.floor(scale * image_size + 0.5)
    if pool_size < 1:
        raise ValueError(f"there is no overlay to choose from (pool_size {pool_size})")
    if not 1 <= side <= image_size:
        raise ValueError(f"an overlay of scale {scale} has {side} pixels a side, which does not fit 1..{image_size}")
    rng = numpy_rng(seed, "overlay", source_class, image_id, repeat)
    overlay = int(rng.integers(pool_size))
    top, left = (int(offset) for offset in rng.integers(image_size - side + 1, size=2))
    return overlay, top, left, side
