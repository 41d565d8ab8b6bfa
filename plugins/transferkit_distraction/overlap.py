"""Equation 4 of paper 000: how far two attribution maps agree outside the overlay, for one pair or many at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SCOPES = ("zeroed", "region")

Map = Tensor | NDArray[Any]
Box = tuple[int, int, int, int] | Sequence[int]


def distraction(
    target_map: Map, source_map: Map, overlay_box: Box, percentile: float = 80, scope: str = "zeroed"
) -> Tensor:
    """Eq. 4: intersection over union of the two maps' strongest background pixels, a float64 scalar tensor.

    Maps (H, W), tensors or arrays; box (top, left, bottom, right) in pixels, half-open. A pixel is strong when it is
    above (strictly) the percentile of its own map, with linear interpolation: with `zeroed` of the whole map after the
    overlay region is set to zero, with `region` of the background pixels alone. Only background pixels count.
    NaN when neither map has a strong pixel or when a map has NaN there; 0 when only one map has some.
    Raises ValueError for shapes that differ, a box outside the map, another scope, a percentile outside 0..100.
    """
    target, source = _as_map(target_map, "target_map"), _as_map(source_map, "source_map")
    if target.shape != source.shape:
        raise ValueError(f"the maps must have one shape, not {tuple(target.shape)} and {tuple(source.shape)}")
    one, other = (
        strongest(maps[None], [overlay_box], percentile, scope) for maps in (target, source.to(target.device))
    )
    return overlaps(one, other)[0]


@dataclass(frozen=True, eq=False)
class Strong:
    """The strong pixels of n maps."""

    pixels: Tensor
    """(n, H, W) bool, all of them in the background."""
    known: Tensor
    """(n,) bool: false for a map with NaN in the background, which has no strongest pixels."""


def strongest(maps: Tensor, boxes: Sequence[Box], percentile: float = 80, scope: str = "zeroed") -> Strong:
    """The background pixels above the percentile of each of n maps (n, H, W), with one box each.

    Between two neighbouring values of a map the interpolated percentile lies at or above the lower and below the
    upper one, so "above it" means "above the lower": an order statistic, free of rounding.
    """
    if scope not in SCOPES:
        raise ValueError(f'the percentile can be of {" or ".join(SCOPES)}, not "{scope}"')
    if not 0 <= percentile <= 100:
        raise ValueError(f"the percentile must lie within 0..100, not {percentile}")
    if len(boxes) != len(maps):
        raise ValueError(f"{len(maps)} maps and {len(boxes)} boxes: each map needs one")
    background = outside(boxes, maps.shape[1:], maps.device)
    thresholds = _thresholds(maps, background, percentile, scope)
    known = ~(background & maps.isnan()).flatten(1).any(dim=1)
    return Strong(background & (maps > thresholds[:, None, None]), known)


def _thresholds(maps: Tensor, background: Tensor, percentile: float, scope: str) -> Tensor:
    """(n,): the order statistic that strong pixels are above; infinite where there are no pixels to be above."""
    filled = maps.masked_fill(~background, 0.0 if scope == "zeroed" else -math.inf).flatten(1)
    rows, pixels = filled.shape
    # with "region" the overlay's pixels are the smallest, so the background's order statistics come after them
    below = torch.zeros(rows, dtype=torch.int64) if scope == "zeroed" else (~background).flatten(1).sum(dim=1).cpu()
    found = maps.new_full((rows,), math.inf)
    for count in set(below.tolist()):
        if count < pixels:
            rank = count + math.floor((pixels - count - 1) * percentile / 100)
            group = torch.nonzero(below == count).flatten().to(maps.device)
            found[group] = filled[group].kthvalue(rank + 1, dim=1).values
    return found


def overlaps(one: Strong, other: Strong) -> Tensor:
    """Intersection over union of n pairs: (n,) float64; NaN where both are empty or one is not known."""
    both = (one.pixels & other.pixels).flatten(1).sum(dim=1).double()
    either = (one.pixels | other.pixels).flatten(1).sum(dim=1).double()
    return (both / either).masked_fill(~(one.known & other.known), math.nan)  # 0 / 0 is NaN


def outside(boxes: Sequence[Box], size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """(n, H, W) bool: the pixels that are not in the box. Raises ValueError for a box outside the map."""
    height, width = size
    found = torch.ones(len(boxes), height, width, dtype=torch.bool, device=device)
    for mask, (top, left, bottom, right) in zip(found, boxes, strict=True):
        if not (0 <= top <= bottom <= height and 0 <= left <= right <= width):
            raise ValueError(
                f"the box {(top, left, bottom, right)} (top, left, bottom, right) is not within a map of "
                f"{height} x {width} pixels"
            )
        mask[top:bottom, left:right] = False
    return found


def chance(percentile: float, scope: str, covered: float) -> float:
    """The overlap of two independent masks that both fill the same share q of the background: q / (2 - q).

    `covered` is the share of the picture under the overlay. With `zeroed` the strong pixels are a share of the whole
    picture and all lie in what the overlay leaves of it, so their share of the background is larger.
    """
    share = 1 - percentile / 100
    if scope == "zeroed":
        share = min(1.0, share / (1 - covered)) if covered < 1 else math.nan
    return share / (2 - share)


def _as_map(values: Map, name: str) -> Tensor:
    """(H, W) in a type that can be ordered: half types and whole numbers are widened, which keeps their order."""
    found = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, order="C"))
    if found.ndim != 2 or found.is_complex():
        raise ValueError(f"{name} must be a map (H, W) of numbers, not {tuple(found.shape)} of {found.dtype}")
    found = found.detach()
    if not found.is_floating_point():
        return found.double()
    return found.to(torch.promote_types(found.dtype, torch.float32))
