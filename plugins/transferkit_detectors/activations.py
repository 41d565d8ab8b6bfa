"""ReAct, ASH and SCALE: the energy of features whose activations are clipped, cut or stretched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession

LARGEST = 30.0
"""Beyond it the exponential of a ratio would leave no digit of the energy."""


def react(features: Tensor, limit: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """−log Σ exp(W min(f, limit) + b) (Sun et al., 2021). (n, d), (), (K, d), (K,) -> (n,)."""
    return -(features.minimum(limit) @ weight.T + bias).logsumexp(dim=1)


def stretch(features: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """exp(s₁ / s₂), s₁ the sum of a row and s₂ that of its `kept` largest entries, and the least of these: (n, 1) each.

    Made for activations that are not negative; where s₂ is zero or less, nothing is stretched.
    """
    import torch

    ordered = features.sort(dim=1, descending=True).values
    inside = torch.arange(features.shape[1], device=features.device) < kept
    total, top = features.sum(dim=1, keepdim=True), (ordered * inside).sum(dim=1, keepdim=True)
    ratio = torch.where(top > 0, total / top.clamp_min(1e-12), torch.zeros_like(top))
    return ratio.clamp(max=LARGEST).exp(), ordered.index_select(1, kept.reshape(1) - 1)


def ash(features: Tensor, kept: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """−log Σ exp(W f′ + b), f′ the `kept` largest activations times `stretch` (Djurisic et al., 2023). -> (n,)."""
    import torch

    factor, least = stretch(features, kept)
    cut = torch.where(features >= least, features, torch.zeros_like(features))
    return -((cut * factor) @ weight.T + bias).logsumexp(dim=1)


def scale(features: Tensor, kept: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """−log Σ exp(W f′ + b), f′ all activations times `stretch` (Xu et al., SCALE, 2024). -> (n,)."""
    factor, _ = stretch(features, kept)
    return -((features * factor) @ weight.T + bias).logsumexp(dim=1)


def classifier(session: DetectorSession) -> dict[str, Tensor]:
    """`weight` (K, d) and `bias` (K,) of the model's own head, float64."""
    weight, bias = session.head.weight.double(), session.head.bias
    return {"weight": weight, "bias": weight.new_zeros(len(weight)) if bias is None else bias.double()}


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

        limit = np.quantile(session.train.features.double().numpy(), self.quantile)
        return self.restore({"limit": torch.tensor(float(limit), dtype=torch.float64), **classifier(session)})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(react, "ReAct + energy", tensors)


@dataclass
class ASH:
    """The energy of the largest activations alone, stretched by what was cut."""

    cut: Annotated[float, Field(ge=0, lt=1, description="share of the activations that is set to zero")] = 0.9
    title: ClassVar[str] = "ASH-S"
    function: ClassVar[Any] = staticmethod(ash)

    def fit(self, session: DetectorSession) -> nn.Module:
        """The model's classifier, and how many activations are kept."""
        import torch

        width = session.head.weight.shape[1]
        return self.restore({"kept": torch.tensor(max(1, width - round(self.cut * width))), **classifier(session)})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(type(self).function, self.title, tensors)


@dataclass
class SCALE(ASH):
    """The energy of all activations, stretched by how much the largest of them hold."""

    cut: Annotated[float, Field(ge=0, lt=1, description="share of the activations that is not among the largest")] = (
        0.85
    )
    title = "SCALE"
    function = staticmethod(scale)
