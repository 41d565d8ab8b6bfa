"""Elastic weight consolidation (Kirkpatrick et al. 2017, Eq. 3): L2-SP with an importance for every weight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from transferkit.data import DatasetName

if TYPE_CHECKING:
    from torch import Tensor, nn

    from transferkit import Anchor, Session, Stage
    from transferkit.model import TransferModel


def ewc(parameters: Iterable[Tensor], reference: Iterable[Tensor], importance: Iterable[Tensor]) -> Tensor:
    """½ Σ F·(w − w⁰)², differentiable in w: the paper's penalty without its strength λ. Its gradient is F·(w − w⁰).

    The three iterables hold tensors of equal shapes in the same order; ValueError otherwise. Each term is summed in
    its own dtype (half types in float32), the sums in float64; the result has the first tensor's dtype, float32 for
    half types. No tensors at all give zero.
    """
    import torch

    squares = [_square(w, start, f) for w, start, f in zip(parameters, reference, importance, strict=True)]
    if not squares:
        return torch.zeros(())
    first = squares[0]
    wide = torch.float32 if first.device.type == "mps" else torch.float64
    return 0.5 * torch.stack([square.to(first.device, wide) for square in squares]).sum().to(first.dtype)


def _square(w: Tensor, start: Tensor, importance: Tensor) -> Tensor:
    if not w.shape == start.shape == importance.shape:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (w, start, importance))
        raise ValueError(f"ewc: weights, reference and importance must have one shape, not {shapes}")
    wide = w.float() if w.dtype.itemsize < 4 else w
    difference = wide - start.detach().to(wide.device, wide.dtype)
    return (importance.detach().to(wide.device, wide.dtype) * difference.square()).sum()


@dataclass
class EWC:
    """Hold each weight where it started, the more firmly the more the source task depends on it."""

    dataset: Annotated[
        DatasetName | None,
        Field(description="the source's training data; without it the importance is taken on the stage's own images"),
    ] = None
    images: Annotated[int, Field(ge=1, description="of its train split, drawn by the seed")] = 1000
    fisher: Annotated[
        Literal["sampled", "exact", "empirical"],
        Field(description="labels drawn from the model, the expectation over them, or the data set's own labels"),
    ] = "sampled"
    head: Annotated[
        bool, Field(description="hold the head as well, where the classes are the source's (head_init: source)")
    ] = False

    _importance: Any = field(init=False, default=None, repr=False)

    conflicts: ClassVar[frozenset[str]] = frozenset({"weight_decay"})

    def check(self, stage: Stage) -> list[str]:
        """True labels need the source's images, a held head needs the source's head."""
        found = []
        if self.fisher == "empirical" and self.dataset is None:
            found.append(
                "`fisher: empirical` needs labels of the source task: name its data set in `dataset`, "
                "or use `fisher: sampled`"
            )
        if self.head and stage.head_init != "source":
            found.append("`head: true` holds the source's head, so the stage needs `head_init: source`")
        return found

    def setup(self, session: Session) -> None:
        """Measure the importance of the reference's weights, or read it from the cache."""
        from transferkit_ewc.measure import measured

        self._importance = measured(session, self)

    def anchors(self, model: TransferModel, reference: TransferModel) -> list[Anchor]:
        """One pull towards copies of the reference's weights, each weighted by its importance."""
        import transferkit
        from transferkit import counterpart

        parameters = dict(model.named_backbone_parameters())
        starts: dict[str, Tensor] = dict(reference.named_backbone_parameters())
        importance: dict[str, Tensor] = self._importance
        if self.head:
            heads = dict(model.named_head_parameters())
            parameters |= heads
            starts |= _rows(reference, model, dict(reference.named_head_parameters()), heads)
            importance = importance | _rows(reference, model, importance, heads)
        targets = [counterpart(name, p, starts, "ewc", "held at") for name, p in parameters.items()]
        weights = [counterpart(name, p, importance, "ewc", "held at") for name, p in parameters.items()]
        return [transferkit.Anchor(list(parameters.values()), targets, weights)]


def _rows(
    reference: TransferModel, model: TransferModel, values: dict[str, Tensor], heads: dict[str, nn.Parameter]
) -> dict[str, Tensor]:
    """What belongs to the rows of the source's head, in the order of the target's classes."""
    from transferkit.model import SourceHead, rows_of

    names = sorted(heads, key=lambda name: -heads[name].ndim)  # the weight, then the bias where there is one
    given = [values[name] for name in names]
    head = rows_of(SourceHead(given[0], given[1] if given[1:] else None, reference.classes), model.classes)
    return {name: rows for name, rows in zip(names, (head.weight, head.bias), strict=False) if rows is not None}
