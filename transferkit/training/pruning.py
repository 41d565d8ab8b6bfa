"""Magnitude pruning as part of a stage: the smallest backbone weights are zero from its start to its end.

The choice is recomputed from the weights the stage starts from, so a resume needs no state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured

from transferkit.errors import InputError

if TYPE_CHECKING:
    from transferkit.model import TransferModel
    from transferkit.recipe.schema import Prune

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Pruning:
    """Which weights stay zero: per tensor a mask of its shape and dtype, 1 where a weight is kept."""

    names: tuple[str, ...]
    weights: tuple[nn.Parameter, ...]
    masks: tuple[Tensor, ...]

    @classmethod
    def from_stage(cls, model: TransferModel, options: Prune) -> Pruning:
        """Choose the smallest weights of the backbone and set them to zero. Call it before any saved state is loaded.

        Only the `weight` of convolutions and linear layers counts: biases, normalisation, embeddings and the
        head stay whole. `global` compares all layers at once, `layer` each with itself; round(amount · n) of n
        weights go. A frozen weight can go too. Raises InputError for a backbone without such layers.
        """
        found = prunable(model)
        if not found:
            raise InputError("prune: the backbone has no convolution or linear layer whose weights could be pruned")
        weights = list(found.values())
        groups = [weights] if options.scope == "global" else [[weight] for weight in weights]
        masks = [mask for group in groups for mask in smallest_out(group, options.amount)]
        pruning = cls(tuple(found), tuple(weights), tuple(masks))
        pruning.keep()
        return pruning

    @torch.no_grad()
    def keep(self) -> None:
        """Set the pruned weights to zero again; call it after each optimizer step."""
        torch._foreach_mul_(list(self.weights), list(self.masks))

    @property
    def pruned(self) -> int:
        """How many weights are zero by this choice."""
        return sum(mask.numel() - int(mask.count_nonzero()) for mask in self.masks)

    @property
    def size(self) -> int:
        """How many weights the choice was made from."""
        return sum(mask.numel() for mask in self.masks)

    def record(self) -> dict[str, float]:
        """For the records: the share of zeros among the prunable weights, and in the fullest and emptiest layer."""
        shares = [1 - float(mask.count_nonzero()) / mask.numel() for mask in self.masks]
        return {"sparsity": self.pruned / self.size, "lowest": min(shares), "highest": max(shares)}

    def line(self) -> str:
        """One line for people."""
        shares = self.record()
        return (
            f"{self.pruned:,} of {self.size:,} backbone weights are zero ({shares['sparsity']:.1%}) in "
            f"{len(self.names)} layers, {shares['lowest']:.0%} to {shares['highest']:.0%} of a layer"
        )


def prunable(model: TransferModel) -> dict[str, nn.Parameter]:
    """{name: weight} of the backbone's convolutions and linear layers, shared ones once."""
    backbone = {id(parameter) for _, parameter in model.named_backbone_parameters()}
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, module in model.net.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, LAYERS) and isinstance(weight, nn.Parameter) and id(weight) in backbone:
            found.setdefault(id(weight), (f"{name}.weight", weight))
    return dict(found.values())


@torch.no_grad()
def smallest_out(weights: list[nn.Parameter], amount: float) -> list[Tensor]:
    """Masks of the weights' shapes and dtypes with round(amount · n) zeros at the n weights' smallest magnitudes.

    Chosen on the CPU, so that every process and device makes the same choice among equal magnitudes.
    """
    flat = torch.cat([weight.detach().float().cpu().flatten() for weight in weights])
    chosen: Tensor = L1Unstructured(amount).compute_mask(flat, torch.ones_like(flat))  # type: ignore[no-untyped-call]
    pieces = torch.split(chosen, [weight.numel() for weight in weights])
    return [
        torch.empty_like(weight).copy_(piece.view(weight.shape)) for weight, piece in zip(weights, pieces, strict=True)
    ]
