"""Where a layer's output keeps its map: channels first, channels last, or one token per position."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Grid = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """How to read an output as a map of `grid` = (rows, columns); `prefix` tokens come before the positions."""

    kind: Literal["channels_first", "channels_last", "tokens"]
    grid: Grid
    prefix: int = 0

    def spatial(self, output: Tensor) -> Tensor:
        """The output as (b, C, h, w), without its prefix tokens. A view."""
        if self.kind == "channels_first":
            return output
        if self.kind == "channels_last":
            return output.permute(0, 3, 1, 2)
        tokens = output[:, self.prefix :].transpose(1, 2)
        return tokens.reshape(*tokens.shape[:2], *self.grid)

    def restore(self, maps: Tensor, output: Tensor) -> Tensor:
        """The inverse: maps (b, C, h, w) in the place that they have in `output`, whose prefix tokens stay."""
        if self.kind == "channels_first":
            return maps
        if self.kind == "channels_last":
            return maps.permute(0, 2, 3, 1)
        tokens = maps.flatten(2).transpose(1, 2)
        return torch.cat([output[:, : self.prefix], tokens], dim=1) if self.prefix else tokens


def readings(
    shape: Sequence[int], size: Grid, *, channels: int | None, prefixes: Iterable[int], grids: Iterable[Grid]
) -> list[Layout]:
    """The layouts that an output of this shape (b, …) may have for images of `size`, the likeliest first.

    `channels` is the width where it is known, `grids` are those that parts of the model declare.
    An empty list: the output holds no map.
    """
    if len(shape) == 4:
        return _of_maps(shape, size, channels)
    if len(shape) == 3 and (channels is None or shape[2] == channels):
        return _of_tokens(shape[1], size, prefixes, list(grids))
    return []


def _of_maps(shape: Sequence[int], size: Grid, channels: int | None) -> list[Layout]:
    _, second, third, fourth = shape
    first = Layout("channels_first", (third, fourth))
    last = Layout("channels_last", (second, third))
    matching = [layout for layout, width in ((first, second), (last, fourth)) if width == channels]
    if len(matching) == 1:
        return matching
    return [layout for layout in (first, last) if _is_plausible(layout.grid, size)]


def _of_tokens(tokens: int, size: Grid, prefixes: Iterable[int], grids: list[Grid]) -> list[Layout]:
    found = []
    for prefix in dict.fromkeys(prefixes):
        positions = tokens - prefix
        if positions > 1:  # a single token is a class token or a mean, and no map
            fitting = [grid for grid in [*grids, *_strided(size)] if grid[0] * grid[1] == positions]
            found += [Layout("tokens", grid, prefix) for grid in fitting]
    return list(dict.fromkeys(found))


def _strided(size: Grid) -> list[Grid]:
    """The grids that one stride for both sides gives, with what is left over dropped or padded."""
    height, width = size
    strides = range(1, max(size) + 1)
    return [(height // s, width // s) for s in strides] + [(-(-height // s), -(-width // s)) for s in strides]


def _is_plausible(grid: Grid, size: Grid) -> bool:
    """Whether about one stride gives both sides."""
    stride = math.sqrt(size[0] * size[1] / (grid[0] * grid[1]))
    return all(abs(cells - pixels / stride) < 1 for cells, pixels in zip(grid, size, strict=True))


def declared_grids(net: nn.Module) -> list[Grid]:
    """The grids that parts of the model say they have (`grid_size`), the patch embedding's first."""
    parts = sorted(net.named_modules(), key=lambda part: part[0] != "patch_embed")
    sizes = [getattr(part, "grid_size", None) for _, part in parts]
    pairs = [(int(s[0]), int(s[1])) for s in sizes if isinstance(s, tuple | list) and len(s) == 2]
    return list(dict.fromkeys(pairs))
