"""Where a layer's output keeps channels and positions: channels first, channels last, or one token per position."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Grid = tuple[int, int]
Usual = Literal["channels_first", "channels_last"]


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
    found = []
    for layout in (first, last):  # where about one stride gives both sides
        stride = math.sqrt(size[0] * size[1] / (layout.grid[0] * layout.grid[1]))
        if all(abs(cells - pixels / stride) < 1 for cells, pixels in zip(layout.grid, size, strict=True)):
            found.append(layout)
    return found


def _of_tokens(tokens: int, size: Grid, prefixes: Iterable[int], grids: list[Grid]) -> list[Layout]:
    height, width = size
    strides = range(1, max(size) + 1)  # the same for both sides, with what is left over dropped or padded
    dropped = [(height // s, width // s) for s in strides]
    padded = [(-(-height // s), -(-width // s)) for s in strides]
    found = []
    for prefix in dict.fromkeys(prefixes):
        positions = tokens - prefix
        if positions > 1:  # a single token is a class token or a mean, and no map
            fitting = [grid for grid in [*grids, *dropped, *padded] if grid[0] * grid[1] == positions]
            found += [Layout("tokens", grid, prefix) for grid in fitting]
    return list(dict.fromkeys(found))


def declared_grids(net: nn.Module) -> list[Grid]:
    """The grids that parts of the model say they have (`grid_size`), the patch embedding's first."""
    parts = sorted(net.named_modules(), key=lambda part: part[0] != "patch_embed")
    sizes = [getattr(part, "grid_size", None) for _, part in parts]
    pairs = [(int(s[0]), int(s[1])) for s in sizes if isinstance(s, tuple | list) and len(s) == 2]
    return list(dict.fromkeys(pairs))


@dataclass(frozen=True)
class Reading:
    """How to read the outputs of one layer, of any number of images: the one rule for channels and positions.

    Outputs are maps (b, C, h, w) or (b, h, w, C), tokens (b, n, C), or rows (b, C). Which axis of a map holds the
    channels follows from their number, `channels`, where it is known and decides, else from the proportions of
    `size`, the images' height and width; where both would do, from `usual`, the network's habit. Tokens that stand
    for no position, such as a class token, are told by their number, one of `prefixes`: the others fill a grid.
    """

    channels: int | None
    size: Grid
    prefixes: tuple[int, ...] = (0,)
    grids: tuple[Grid, ...] = ()
    usual: Usual = "channels_first"

    def layout(self, shape: Sequence[int]) -> Layout | None:
        """The likeliest layout of an output of this shape; None where it holds no map."""
        known = self.channels if len(shape) == 4 or self.channel_axis(shape) == 1 else None
        found = readings(shape, self.size, channels=known, prefixes=self.prefixes, grids=self.grids)
        return next((layout for layout in found if layout.kind == self.usual), found[0] if found else None)

    def channel_axis(self, shape: Sequence[int]) -> int:
        """The axis of an output of this shape (b, …) that holds the channels."""
        if len(shape) == 3:
            return 1 if shape[1] == self.channels != shape[2] else 2
        layout = self.layout(shape) if len(shape) == 4 else None
        return 3 if layout is not None and layout.kind == "channels_last" else 1

    def channels_first(self, output: Tensor) -> Tensor:
        """The output as (b, C, …) with all its tokens. A view."""
        return output.movedim(self.channel_axis(output.shape), 1)

    def positions(self, output: Tensor) -> Tensor:
        """The output as (b, positions, C), without tokens that stand for no position; rows (b, C) have one. A view."""
        if output.dim() == 2:
            return output[:, None]
        return self.channels_first(self._without_prefix(output)).flatten(2).transpose(1, 2)

    def pooled(self, output: Tensor) -> Tensor:
        """The output as (b, C): the mean over its positions."""
        if output.dim() == 2:
            return output
        kept, axis = self._without_prefix(output), self.channel_axis(output.shape)
        return kept.mean(dim=[other for other in range(1, kept.dim()) if other != axis])

    def _without_prefix(self, output: Tensor) -> Tensor:
        layout = self.layout(output.shape) if output.dim() == 3 else None
        return output if layout is None else output[:, layout.prefix :]


def reading_of(net: nn.Module, size: Grid, channels: int | None) -> Reading:
    """How to read the outputs of an inner layer of `net` on images of `size`; `channels` is its width where known."""
    declared = getattr(net, "num_prefix_tokens", None)
    prefixes = (0, 1) if declared is None else (declared, 0)
    habit: Usual = "channels_last" if getattr(net, "output_fmt", None) == "NHWC" else "channels_first"
    return Reading(channels, size, prefixes, tuple(declared_grids(net)), habit)
