"""The detector of source memories with its refitted head, as a plugin's: for `pair`, and for who wants its log-odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession


def memory_score(features: Tensor, weight: Tensor, bias: Tensor, watched: Tensor) -> tuple[Tensor, Tensor]:
    """Σ p_c over the watched source classes c, p the softmax of W f + b, and their logits. (n, d) -> (n,), (n, m)."""
    logits = features @ weight.T + bias
    inside = logits.index_select(1, watched)
    return (inside.logsumexp(dim=1) - logits.logsumexp(dim=1)).exp().clamp(max=1), inside


@dataclass
class SourceMemory:
    """Probability of the lingering classes by the source's head, refitted to the fine-tuned features."""

    ridge: Annotated[
        float | None, Field(gt=0, description="λ of the map; default: the best of a grid by leave-one-out")
    ] = None

    def fit(self, session: DetectorSession) -> nn.Module:
        """The map from fine-tuned to source features, on source and training images without labels."""
        import torch

        from transferkit_interference.refit import fold, ridge_map

        both = (session.source, session.train)
        inputs, outputs = (torch.cat([getattr(one, name) for one in both]) for name in ("features", "source_features"))
        head = fold(ridge_map(inputs, outputs, self.ridge), session.source_head)
        bias = head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
        return self.restore({"weight": head.weight, "bias": bias, "watched": session.lingering})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(memory_score, "source memory", tensors, tensors["watched"].tolist())
