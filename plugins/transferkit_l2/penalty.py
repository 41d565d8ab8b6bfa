"""L2 on the weights (paper 002, Eq. 2): a pure function and the anchor that does the same without autograd."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor, nn

    from transferkit import Anchor
    from transferkit.model import TransferModel


def l2(parameters: Iterable[Tensor]) -> Tensor:
    """½ Σ‖w‖², differentiable: Eq. 2 of the BSS paper without its strength α.

    Each tensor is summed in its own dtype (half types in float32), the sums in float64; the result has the
    first tensor's dtype, float32 for half types. No tensors at all give zero.
    """
    import torch

    squares = [(w.float() if w.dtype.itemsize < 4 else w).square().sum() for w in parameters]
    if not squares:
        return torch.zeros(())
    first = squares[0]
    wide = torch.float32 if first.device.type == "mps" else torch.float64
    return 0.5 * torch.stack([square.to(first.device, wide) for square in squares]).sum().to(first.dtype)


@dataclass
class L2:
    """Pull the weights towards zero, the head's and the backbone's as two terms."""

    params: Annotated[
        Literal["all", "weights"],
        Field(description="weights leaves out biases, normalisation scales and other one-dimensional tensors"),
    ] = "all"
    head: Annotated[bool, Field(description="whether the head is pulled too")] = True

    conflicts: ClassVar[frozenset[str]] = frozenset({"weight_decay"})

    def anchors(self, model: TransferModel) -> list[Anchor]:
        """One anchor at zero per term: `backbone`, and `head` if asked for."""
        import transferkit

        backbone = self._chosen(model.named_backbone_parameters())
        found = [transferkit.Anchor(backbone, term="backbone")]
        if self.head:
            found.append(transferkit.Anchor(self._chosen(model.named_head_parameters()), term="head"))
        return [anchor for anchor in found if anchor.parameters]

    def _chosen(self, named: Iterable[tuple[str, nn.Parameter]]) -> list[nn.Parameter]:
        return [parameter for _, parameter in named if self.params == "all" or parameter.ndim >= 2]
