"""Magnitude pruning: the smallest backbone weights become zero at a stage's start, and stay zero to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor, nn

    from transferkit.model import TransferModel


def prunable(model: TransferModel) -> dict[str, nn.Parameter]:
    """{timm's name: weight} of the backbone's convolutions and linear layers, shared ones once."""
    from torch import nn

    layers = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    backbone = {id(parameter) for _, parameter in model.named_backbone_parameters()}
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, module in model.net.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, layers) and isinstance(weight, nn.Parameter) and id(weight) in backbone:
            found.setdefault(id(weight), (f"{name}.weight", weight))
    return dict(found.values())


def smallest_out(weights: Sequence[Tensor], amount: float) -> list[Tensor]:
    """Masks of the weights' shapes and dtypes with round(amount · n) zeros at the n weights' smallest magnitudes.

    Chosen on the CPU, so that every process and device makes the same choice among equal magnitudes.
    """
    import torch
    from torch.nn.utils.prune import L1Unstructured

    flat = torch.cat([weight.detach().float().cpu().flatten() for weight in weights])
    chosen: Tensor = L1Unstructured(amount).compute_mask(flat, torch.ones_like(flat))  # type: ignore[no-untyped-call]
    pieces = torch.split(chosen, [weight.numel() for weight in weights])
    return [
        torch.empty_like(weight).copy_(piece.view(weight.shape)) for weight, piece in zip(weights, pieces, strict=True)
    ]


@dataclass
class Prune:
    """Set the smallest weights of the backbone to zero at the start, and keep them there."""

    amount: Annotated[float, Field(gt=0, lt=1, description="share of the weights")]
    scope: Annotated[Literal["global", "layer"], Field(description="smallest of all layers together, or of each")] = (
        "global"
    )
    _masks: dict[str, Any] = field(init=False, default_factory=dict, repr=False)

    def project(self, parameters: Mapping[str, Tensor], model: TransferModel, step: int) -> dict[str, Tensor]:
        """The weights with zeros where the masks have them, which the weights that the stage starts from decide.

        Raises InputError for a backbone without such layers.
        """
        import torch

        if step == 0:
            self._choose({name: weight.detach() for name, weight in prunable(model).items()})
        kept = torch._foreach_mul([parameters[name] for name in self._masks], list(self._masks.values()))
        return dict(zip(self._masks, kept, strict=True))

    def epoch_end(self) -> dict[str, float]:
        """The share of zeros among the prunable weights, and in the emptiest and fullest layer."""
        zeros = {name: mask.numel() - int(mask.count_nonzero()) for name, mask in self._masks.items()}
        shares = [zeros[name] / mask.numel() for name, mask in self._masks.items()]
        size = sum(mask.numel() for mask in self._masks.values())
        return {"sparsity": sum(zeros.values()) / size, "lowest": min(shares), "highest": max(shares)}

    def _choose(self, weights: dict[str, Tensor]) -> None:
        from transferkit.errors import InputError

        if not weights:
            raise InputError("prune: the backbone has no convolution or linear layer whose weights could be pruned")
        groups = [list(weights)] if self.scope == "global" else [[name] for name in weights]
        for names in groups:
            masks = smallest_out([weights[name] for name in names], self.amount)
            self._masks |= dict(zip(names, masks, strict=True))
