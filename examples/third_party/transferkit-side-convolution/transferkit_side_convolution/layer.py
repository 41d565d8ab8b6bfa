"""The layer that takes a convolution's place; it is imported only when a stage is prepared."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transferkit.model import recast


class Parallel(nn.Conv2d):
    """A convolution and a 1 x 1 convolution of the same images, added up."""

    beside: nn.Parameter

    def forward(self, images: Tensor) -> Tensor:
        """(b, C, H, W) -> (b, C', H', W')."""
        return F.conv2d(images, self._weight(), self.bias, self.stride, self.padding, self.dilation, self.groups)

    def _weight(self) -> Tensor:
        height, width = (size // 2 for size in self.kernel_size)
        return self.weight + F.pad(self.beside, (width, width, height, height))

    def merged(self) -> nn.Module:
        """A plain convolution that does the same."""
        weight = self._weight().detach().clone()
        plain: nn.Module = recast(self, nn.Conv2d)
        del plain.beside
        plain.weight = nn.Parameter(weight)
        return plain


def parallel(layer: nn.Module) -> Parallel:
    """The convolution with nothing beside it yet; its weights are the very ones, under their names."""
    changed: Parallel = recast(layer, Parallel)
    changed.beside = nn.Parameter(torch.zeros(*changed.weight.shape[:2], 1, 1))
    return changed
