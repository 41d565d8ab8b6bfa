"""WiSE-FT (Wortsman et al., CVPR 2022): a model on the line from where its training started to where it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import EditSession
    from transferkit.model import TransferModel

Share = Annotated[float, Field(ge=0, le=1)]


def between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """(1 − α)·start + α·end for every floating tensor that both have, in float64, in the dtype of `end`.

    Whole numbers, such as counts of batches, are those of `end`. Raises ValueError for other names or shapes.
    """
    if start.keys() != end.keys() or any(start[name].shape != end[name].shape for name in end):
        raise ValueError("wise_ft: the two models have other tensors: they are of different architectures")
    return {
        name: value.clone()
        if not value.is_floating_point()
        else ((1 - alpha) * start[name].to(value.device).double() + alpha * value.double()).to(value.dtype)
        for name, value in end.items()
    }


@dataclass
class WiseFT:
    """Take the backbone back towards the weights that the training started from."""

    alphas: Annotated[
        list[Share], Field(min_length=1, description="shares of the fine-tuned weights to choose from, on validation")
    ] = field(default_factory=lambda: [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])

    def edit(self, model: TransferModel, reference: TransferModel, session: EditSession) -> dict[str, Tensor]:
        """The backbone at the alpha with the best validation accuracy; of equal ones at the smaller."""
        head = {name for name, _ in model.named_head_parameters()}
        end = {name: value for name, value in model.net.state_dict().items() if name not in head}
        start = {name: value for name, value in reference.net.state_dict().items() if name in end}
        tried = sorted(set(self.alphas))
        if len(tried) == 1:
            return between(start, end, tried[0])
        found = {}
        with session.progress(len(tried), "interpolated models") as bar:
            for alpha in tried:
                found[alpha] = session.score(between(start, end, alpha))
                bar.advance()
        best = max(tried, key=lambda alpha: (found[alpha].get("top1", -found[alpha]["loss"]), -alpha))
        shown = "top1" if "top1" in found[best] else "loss"
        listed = ", ".join(f"{alpha:g}: {found[alpha][shown]:.4f}" for alpha in tried)
        session.note(f"alpha {best:g} was chosen on the validation images ({shown} by alpha: {listed}).", alpha=best)
        return between(start, end, best)
