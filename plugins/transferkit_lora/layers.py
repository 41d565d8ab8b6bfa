"""LoRA's equation, and the two layers that compute it: each a plain layer with `lora_a` and `lora_b` beside its own."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from transferkit.model import recast


def low_rank(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """(alpha / r)·B·A of A (r, …) and B (out, r): a change of weights of the shape (out, …), in their dtype."""
    return (b @ a.flatten(1)).reshape(len(b), *a.shape[1:]) * (alpha / len(a))


class _LowRank(nn.Module):
    weight: Any
    alpha: float
    dropout: float

    def begin(self, rank: int, alpha: float, dropout: float) -> None:
        """A drawn as linear layers are, B zero: the change is nothing at first."""
        out, *inner = self.weight.shape
        self.alpha, self.dropout = alpha, dropout
        self.lora_a = nn.Parameter(self.weight.new_empty(rank, *inner))
        self.lora_b = nn.Parameter(self.weight.new_zeros(out, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def merged(self) -> nn.Module:
        """The plain layer with W + (alpha / r)·B·A, added in float64, which not every device has."""
        plain: nn.Module = recast(self, PLAIN[type(self)])
        del plain.lora_a, plain.lora_b
        weight, a, b = (one.detach().cpu().double() for one in (self.weight, self.lora_a, self.lora_b))
        plain.weight = nn.Parameter((weight + low_rank(a, b, self.alpha)).to(self.weight))
        return plain

    def _given(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class LowRankLinear(_LowRank, nn.Linear):
    """x·Wᵀ + b + (alpha / r)·x·Aᵀ·Bᵀ."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        inner = F.linear(self._given(x), self.lora_a) * (self.alpha / len(self.lora_a))
        return F.linear(x, self.weight, self.bias) + F.linear(inner, self.lora_b)


class LowRankConv2d(_LowRank, nn.Conv2d):
    """A convolution with r filters of the layer's size, then one of 1 x 1, beside the layer's own."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, in, H, W) -> (b, out, H', W')."""
        inner = self._conv_forward(self._given(x), self.lora_a, None) * (self.alpha / len(self.lora_a))
        change: Tensor = F.conv2d(inner, self.lora_b[:, :, None, None])
        plain: Tensor = self._conv_forward(x, self.weight, self.bias)
        return plain + change


LOW_RANK: dict[Any, Any] = {nn.Linear: LowRankLinear, nn.Conv2d: LowRankConv2d}
PLAIN: dict[Any, Any] = {changed: plain for plain, changed in LOW_RANK.items()}


def with_low_rank(layer: nn.Linear | nn.Conv2d, rank: int, alpha: float, dropout: float = 0.0) -> nn.Module:
    """The layer with a change that is zero; its weight and bias are the very ones. Draws from torch's generator."""
    changed: _LowRank = recast(layer, LOW_RANK[type(layer)])
    changed.begin(rank, alpha, dropout)
    return changed
