"""Selective projection decay: pull back only tensors that the gradient still drives away from where they started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.model import TransferModel


def spd(weight: Tensor, previous: Tensor, start: Tensor, gradient: Tensor, strength: float) -> Tensor:
    """The weight θ after an optimizer's step, pulled towards θ⁰ where the step went on in a direction it has come.

    With d = θ − θ⁰ now and d' = θ' − θ⁰ before the step: where −g·d' < 0, θ − λ·r·d with r = max(0, ‖d‖ − ‖d'‖)/‖d‖;
    θ itself otherwise. All tensors have one shape; `strength` is λ: 1 puts θ on the sphere where it was before.
    """
    import torch

    away, before = weight - start, previous - start
    length = away.norm()
    ratio = (length - before.norm()).clamp(min=0) / length.clamp(min=torch.finfo(length.dtype).tiny)
    return weight - torch.where((gradient * before).sum() > 0, strength * ratio, 0.0) * away


@dataclass
class SPD:
    """Let the backbone go where the loss falls steadily, and hold it where a step repeats an earlier direction."""

    strength: Annotated[float, Field(ge=0, description="λ: 1 takes back all that a step has gone further away")] = 1.0

    conflicts: ClassVar[frozenset[str]] = frozenset({"weight_decay"})

    def project(
        self,
        parameters: Mapping[str, Tensor],
        previous: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        reference: TransferModel,
    ) -> dict[str, Tensor]:
        """Every tensor of the backbone that has a gradient, and in the reference a value to start from."""
        starts = dict(reference.named_backbone_parameters())
        return {
            name: spd(parameters[name], previous[name], starts[name].detach(), gradient, self.strength)
            for name, gradient in gradients.items()
            if name in starts and starts[name].shape == gradient.shape
        }
