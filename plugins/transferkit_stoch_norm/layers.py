"""StochNorm's equation, and batch norms that compute it while they train."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from transferkit.model import recast


def stoch_norm(by_batch: Tensor, by_moving: Tensor, coin: Tensor) -> Tensor:
    """(b, c, …) of (b, c, …) by each channel's coin (c,): true takes what the batch's statistics made of it."""
    return torch.where(coin.view(1, -1, *[1] * (by_batch.dim() - 2)), by_batch, by_moving)


class _Stochastic(nn.modules.batchnorm._BatchNorm):
    p: float

    def forward(self, x: Tensor) -> Tensor:
        """As the plain layer in evaluation mode. The moving statistics are moved by every batch, as always."""
        if not self.training:
            return super().forward(x)
        mean, var = (None if one is None else one.clone() for one in (self.running_mean, self.running_var))
        by_batch = super().forward(x)
        by_moving = self._activated(F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps))
        coin = torch.rand(self.num_features, device=x.device) < self.p  # keyed to the step by the training
        return stoch_norm(by_batch, by_moving, coin)

    def _activated(self, x: Tensor) -> Tensor:
        return x

    def merged(self) -> nn.Module:
        """The plain batch norm, with the same weights and statistics."""
        plain: nn.Module = recast(self, PLAIN[type(self)])
        return plain


class StochNorm1d(_Stochastic, nn.BatchNorm1d):
    """Of (b, c) or (b, c, L)."""


class StochNorm2d(_Stochastic, nn.BatchNorm2d):
    """Of (b, c, H, W)."""


class StochNormAct2d(_Stochastic, BatchNormAct2d):  # type: ignore[misc]
    """Of (b, c, H, W), with timm's activation after it."""

    def _activated(self, x: Tensor) -> Tensor:
        layer: Any = self
        return layer.act(layer.drop(x))  # type: ignore[no-any-return]


STOCHASTIC: dict[Any, Any] = {
    nn.BatchNorm1d: StochNorm1d,
    nn.BatchNorm2d: StochNorm2d,
    BatchNormAct2d: StochNormAct2d,
}
PLAIN: dict[Any, Any] = {changed: plain for plain, changed in STOCHASTIC.items()}


def with_coin(layer: nn.Module, p: float) -> nn.Module:
    """The batch norm with a coin that takes the batch's statistics with probability p; weights are the very ones."""
    changed: _Stochastic = recast(layer, STOCHASTIC[type(layer)])
    changed.p = p
    return changed
