"""L2-SP (paper 002, Eq. 3): a pure function and the anchor that does the same without autograd."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor, nn

    from transferkit import Anchor
    from transferkit.model import TransferModel


def l2_sp(parameters: Iterable[Tensor], reference: Iterable[Tensor]) -> Tensor:
    """½ Σ‖w − w⁰‖², differentiable in w: the first half of Eq. 3 without its strength β.

    The two iterables hold tensors of equal shapes in the same order; ValueError otherwise. Each difference is
    summed in its own dtype (half types in float32), the sums in float64; the result has the first tensor's
    dtype, float32 for half types. No tensors at all give zero.
    """
    import torch

    squares = [_distance(w, start) for w, start in zip(parameters, reference, strict=True)]
    if not squares:
        return torch.zeros(())
    first = squares[0]
    wide = torch.float32 if first.device.type == "mps" else torch.float64
    return 0.5 * torch.stack([square.to(first.device, wide) for square in squares]).sum().to(first.dtype)


def _distance(w: Tensor, start: Tensor) -> Tensor:
    if w.shape != start.shape:
        raise ValueError(f"l2_sp: a tensor of shape {tuple(w.shape)} against one of shape {tuple(start.shape)}")
    wide = w.float() if w.dtype.itemsize < 4 else w
    return (wide - start.detach().to(wide.device, wide.dtype)).square().sum()


@dataclass
class L2SP:
    """Pull the backbone towards the weights it started from, and the new head towards zero."""

    params: Annotated[
        Literal["all", "weights"],
        Field(description="weights leaves out biases, normalisation scales and other one-dimensional tensors"),
    ] = "all"
    head: Annotated[bool, Field(description="whether the head is pulled to zero")] = True

    conflicts: ClassVar[frozenset[str]] = frozenset({"weight_decay"})

    def anchors(self, model: TransferModel, reference: TransferModel) -> list[Anchor]:
        """The term `backbone` at a copy of the reference's weights, the term `head` at zero.

        Raises KeyError naming the parameter that the reference lacks or holds in another shape.
        """
        import transferkit
        from transferkit import counterpart

        backbone = self._chosen(model.named_backbone_parameters())
        starts: dict[str, Tensor] = dict(reference.named_backbone_parameters())
        targets = [counterpart(name, p, starts, "l2_sp", "pulled towards") for name, p in backbone.items()]
        found = [transferkit.Anchor(list(backbone.values()), targets, term="backbone")]
        if self.head:
            head = self._chosen(model.named_head_parameters())
            found.append(transferkit.Anchor(list(head.values()), term="head"))
        return [anchor for anchor in found if anchor.parameters]

    def _chosen(self, named: Iterable[tuple[str, nn.Parameter]]) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in named if self.params == "all" or parameter.ndim >= 2}
