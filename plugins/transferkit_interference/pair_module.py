"""The module of `pair`: both detectors in one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Both(nn.Module):
    """The larger of two scores; where it is the memory's, the source class that this names, otherwise −1."""

    middle: Tensor
    spread: Tensor
    watched: Tensor

    def __init__(self, parts: Sequence[nn.Module], middle: Tensor, spread: Tensor, watched: Tensor, title: str) -> None:
        super().__init__()
        self.parts, self.title, self.watches = nn.ModuleList(parts), title, tuple(watched.tolist())
        for name, tensor in (("middle", middle), ("spread", spread), ("watched", watched)):
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, features: Tensor, logits: Tensor, taps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores (n,), and the source class (n,) int64 of those where a memory is what stands out."""
        memory, error = (part(features, logits, taps) for part in self.parts)
        score, second = memory
        named = second if second.dim() == 1 else self.watched.index_select(0, second.argmax(dim=1))
        both = torch.stack([score, error[0] if isinstance(error, tuple) else error], dim=1)
        apart = self.standing(both)
        return apart.amax(dim=1), torch.where(apart[:, 0] >= apart[:, 1], named, torch.full_like(named, -1))

    def standing(self, scores: Tensor) -> Tensor:
        """(n, 2): how far each score lies above what clean images usually have, in units of their rare ones."""
        return (scores - self.middle) / self.spread
