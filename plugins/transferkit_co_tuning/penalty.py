"""Co-Tuning (You et al. 2020): the source's classifier goes on learning, from what source classes target ones are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from transferkit.data import DatasetName

if TYPE_CHECKING:
    from torch import Tensor, nn

    from transferkit import Session, Stage, Workspace


def co_tuning(source_logits: Tensor, labels: Tensor, relationship: Tensor) -> Tensor:
    """Cross-entropy of the source classifier's logits (n, K_s) against p(y_s | y_t), (K_t, K_s); a mean over images.

    Labels are (n,), or shares of classes (n, K_t). No images give zero.
    """
    wanted = labels.to(relationship) @ relationship if labels.ndim == 2 else relationship[labels]
    return -(wanted * source_logits.log_softmax(dim=1)).sum() / max(len(labels), 1)


@dataclass
class CoTuning:
    """Fine-tune the source's classifier too: on the distribution over source classes that goes with each label."""

    frozen: Annotated[bool, Field(description="keep the source's classifier as it was, and train the backbone")] = False
    temperature: Annotated[float, Field(gt=0, description="of the source model's predictions")] = 1.0
    calibrate_on: Annotated[
        DatasetName | None, Field(description="source images, on whose val split the temperature is fitted instead")
    ] = None
    _relationship: Any = field(init=False, default=None, repr=False)

    def check(self, stage: Stage) -> list[str]:
        """A model from scratch has no classes of its own."""
        return ["needs a source model, but start is scratch"] if stage.start == "scratch" else []

    def parameters(self, session: Workspace) -> nn.Module:
        """A copy of the source's classifier. Raises InputError for a source without one."""
        from torch import nn

        from transferkit.errors import InputError

        source = session.source_head
        if source is None:
            raise InputError("co_tuning: the model that this stage starts from has no classifier")
        head = nn.Linear(source.weight.shape[1], source.weight.shape[0], bias=source.bias is not None)
        head.load_state_dict(source.tensors())
        return head.requires_grad_(not self.frozen)

    def setup(self, session: Session) -> None:
        """Learn the relationship, or read it from the cache."""
        from transferkit_co_tuning.measure import measured

        self._relationship = measured(session, self.temperature, self.calibrate_on).to(session.device)

    def penalty(self, features: Tensor, labels: Tensor, own: nn.Module) -> Tensor:
        """What the source's classifier makes of this batch's features, against what it should."""
        return co_tuning(own(features), labels, self._relationship)
