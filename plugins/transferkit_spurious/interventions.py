"""Changing inputs on purpose: columns of a table, or a region of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Numbers = NDArray[np.floating[Any]]
Box = tuple[int, int, int, int]


def intervene(
    x: Numbers,
    columns: Sequence[int],
    how: str,
    *,
    mean: Numbers | None = None,
    sd: Numbers | None = None,
    output: Numbers | None = None,
    rng: np.random.Generator | None = None,
) -> Numbers:
    """(n, d) -> a changed copy (n, d); the other columns stay as they are.

    permute    each of the columns in another order of the rows, drawn from `rng`
    shift      + one standard deviation
    scale      twice as far from the mean
    occlude    the mean
    correlate  the mean + the s.d. times the standardised `output` (n,): a column that gives the answer away

    `mean` and `sd` (d,) are those of the training data; by default the columns' own. Raises ValueError for another
    word, and where `rng` or `output` is needed and missing.
    """
    chosen = np.asarray(columns, dtype=np.int64)
    centre = (x.mean(axis=0) if mean is None else np.asarray(mean))[chosen]
    spread = (x.std(axis=0) if sd is None else np.asarray(sd))[chosen]
    part = x[:, chosen]
    changed = x.copy()
    if how == "permute":
        if rng is None:
            raise ValueError("permute needs rng")
        changed[:, chosen] = rng.permuted(part, axis=0)
    elif how == "shift":
        changed[:, chosen] = part + spread
    elif how == "scale":
        changed[:, chosen] = centre + 2 * (part - centre)
    elif how == "occlude":
        changed[:, chosen] = centre
    elif how == "correlate":
        if output is None or len(output) != len(x):
            raise ValueError("correlate needs the output of every row")
        wide = np.asarray(output, np.float64)
        changed[:, chosen] = centre + spread * ((wide - wide.mean()) / (wide.std() or 1.0))[:, None]
    else:
        raise ValueError(f"no intervention is called {how!r}")
    return changed


def intervene_region(images: Tensor, box: Box, how: str, rng: np.random.Generator | None = None) -> Tensor:
    """(n, C, H, W) normalised images -> a changed copy; `box` is (top, left, bottom, right), half-open, in pixels.

    occlude: 0, the mean colour of the preprocessing; shift: + 1, its standard deviation; permute: what another of
    the images, drawn from `rng`, has there. Raises ValueError for another word, and without `rng` where it is needed.
    """
    top, left, bottom, right = box
    changed = images.clone()
    part = changed[:, :, top:bottom, left:right]
    if how == "occlude":
        part.zero_()
    elif how == "shift":
        part.add_(1)
    elif how == "permute":
        if rng is None:
            raise ValueError("permute needs rng")
        order = rng.permutation(len(images))
        part.copy_(images[order.tolist()][:, :, top:bottom, left:right])
    else:
        raise ValueError(f"no intervention on images is called {how!r}")
    return changed


def region_box(region: tuple[float, float, float, float], height: int, width: int) -> Box:
    """(left, top, width, height) in shares -> (top, left, bottom, right) in pixels, at least one pixel each way."""
    x, y, w, h = region
    top, left = min(round(y * height), height - 1), min(round(x * width), width - 1)
    bottom, right = round((y + h) * height), round((x + w) * width)
    return top, left, min(max(bottom, top + 1), height), min(max(right, left + 1), width)


def patches(grid: int, height: int, width: int) -> list[Box]:
    """The boxes of a grid x grid partition, row by row; never more patches than pixels."""
    rows, columns = min(grid, height), min(grid, width)
    ys = [round(i * height / rows) for i in range(rows + 1)]
    xs = [round(j * width / columns) for j in range(columns + 1)]
    return [(ys[i], xs[j], ys[i + 1], xs[j + 1]) for i in range(rows) for j in range(columns)]
