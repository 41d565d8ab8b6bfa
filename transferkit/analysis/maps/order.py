"""Whether the positions of a map lie as those of the image do, seen by disturbing the image cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from transferkit.analysis.maps.layout import Grid

Verdict = Literal["confirmed", "contradicted", "undecided"]
# A cell stands out when its share of the response exceeds the mean share by this much.
CLEAR = 0.1


def judge(maps_of: Callable[[Tensor], Tensor], image: Tensor, grid: Grid) -> Verdict:
    """Disturb single cells of one image (1, C, H, W) and see where the map (b, C', h, w) answers.

    How strongly a cell answers is measured against its answers to all disturbances: some cells (registers,
    outlier tokens) answer to everything. A disturbance that no cell stands out for says nothing: attention
    with random weights may forget positions altogether.
    """
    cells = _cells(grid)
    if len(cells) < 2:
        return "undecided"
    maps = maps_of(torch.cat([image, *(_disturbed(image, cell, grid) for cell in cells)])).detach().float()
    response = (maps[1:] - maps[:1]).square().sum(dim=1).sqrt()
    share = (response / response.sum(dim=0, keepdim=True)).nan_to_num(0.0)
    right = wrong = 0
    for own, cell in zip(share, cells, strict=True):
        mean, most = float(own.mean()), float(own.max())
        if most - mean > CLEAR:
            stands_out = float(own[cell]) - mean > (most - mean) / 2
            right, wrong = right + stands_out, wrong + (not stands_out)
    if wrong >= 2:
        return "contradicted"
    return "confirmed" if right > max(1, wrong) else "undecided"


def _cells(grid: Grid) -> list[Grid]:
    """The four corners and one cell inside, so that turned, mirrored, shifted and unrolled maps all show."""
    rows, columns = grid
    corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    return list(dict.fromkeys([*corners, (rows // 3, 2 * columns // 3)]))


def _disturbed(image: Tensor, cell: Grid, grid: Grid) -> Tensor:
    """The image with the pixels of one cell turned to their negative, plus a pattern."""
    rows, columns = (
        slice(side * index // cells, side * (index + 1) // cells)
        for index, cells, side in zip(cell, grid, image.shape[-2:], strict=True)
    )
    result = image.clone()
    part = result[..., rows, columns]
    pattern = torch.cos(1.7 * torch.arange(part.numel(), device=image.device, dtype=torch.float64))
    result[..., rows, columns] = pattern.reshape(part.shape).to(image.dtype) - part
    return result
