"""ReAct: the energy of features whose largest activations are clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession


def react(features: Tensor, limit: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """−log Σ exp(W min(f, limit) + b) (Sun et al., 2021). (n, d), (), (K, d), (K,) -> (n,)."""
    return -(features.minimum(limit) @ weight.T + bias).logsumexp(dim=1)


@dataclass
class ReAct:
    """The energy of clipped features."""

    quantile: Annotated[
        float, Field(gt=0, le=1, description="of all the training images' activations: what is above is clipped")
    ] = 0.9
    standard_audit: ClassVar[float] = 90

    def fit(self, session: DetectorSession) -> nn.Module:
        """The limit, on the target's training images; and the model's classifier."""
        import numpy as np
        import torch

        weight, bias = session.head.weight.double(), session.head.bias
        limit = np.quantile(session.train.features.double().numpy(), self.quantile)
        return self.restore(
            {
                "limit": torch.tensor(float(limit), dtype=torch.float64),
                "weight": weight,
                "bias": weight.new_zeros(len(weight)) if bias is None else bias.double(),
            }
        )

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(react, "ReAct + energy", tensors)
