"""One row per image from any layer's output: averaged over positions, flattened, or one row per position."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d

View = Literal["gap", "flatten", "tokens"]
WIDEST = 8192


def channels_last(output: Tensor, channels: int | None = None) -> Tensor:
    """An output (b, …) as (b, positions, C). `channels` is the width C where it is known.

    Maps are (b, C, h, w) unless only the last axis has the known width, or, where none is known, unless the second
    and third axis alone are equal. Tokens are (b, positions, C).
    """
    if output.dim() == 2:
        return output[:, None]
    if output.dim() == 3:
        return output
    if output.dim() != 4:
        return output.flatten(2).transpose(1, 2)
    _, second, third, fourth = output.shape
    last = second != channels and fourth == channels if channels else second == third != fourth
    return output.flatten(1, 2) if last else output.flatten(2).transpose(1, 2)


def grid_of(output: Tensor, positions: int) -> tuple[int, int] | None:
    """(rows, columns) of a map's positions; None for tokens and plain features."""
    if output.dim() != 4:
        return None
    _, second, third, fourth = output.shape
    return (third, fourth) if third * fourth == positions else (second, third)


def averaged(tokens: Tensor) -> Tensor:
    """(b, positions, C) -> (b, C)."""
    return tokens.mean(dim=1)


def flattened(tokens: Tensor, grid: tuple[int, int] | None, widest: int = WIDEST) -> Tensor:
    """(b, positions, C) -> (b, at most `widest` where C allows), by averaging neighbouring positions."""
    count, positions, channels = tokens.shape
    cells = max(1, widest // channels)
    maps = tokens.transpose(1, 2)
    if positions <= cells:
        return maps.flatten(1)
    if grid is None:
        return adaptive_avg_pool1d(maps, cells).flatten(1)
    side = max(1, math.isqrt(cells))
    small = adaptive_avg_pool2d(maps.reshape(count, channels, *grid), (min(side, grid[0]), min(side, grid[1])))
    return small.flatten(1)
