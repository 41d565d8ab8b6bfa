"""Learning without forgetting (Li and Hoiem 2016): distil what the source says of the new images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor, nn

    from transferkit import Stage, Workspace


def lwf(logits: Tensor, source_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """T² · KL(softmax(source / T) ‖ softmax(logits / T)), both (n, K) over the same classes; a mean over images.

    No gradient goes to the source's. T² keeps the size of the gradient when T changes. No images give zero.
    """
    from torch.nn.functional import kl_div

    now, before = (given / temperature for given in (logits, source_logits.detach()))
    total = kl_div(now.log_softmax(dim=1), before.log_softmax(dim=1), reduction="sum", log_target=True)
    return temperature**2 * total / max(len(logits), 1)


@dataclass
class LwF:
    """Keep answering for the old classes as the source did, on images of the new ones."""

    temperature: Annotated[float, Field(gt=0, description="T, of both softmaxes: higher looks at small logits too")] = (
        2.0
    )
    _old: list[int] = field(init=False, default_factory=list, repr=False)
    _rows: list[int] = field(init=False, default_factory=list, repr=False)

    def check(self, stage: Stage) -> list[str]:
        """A model from scratch has no classes of its own."""
        return ["needs a source model, but start is scratch"] if stage.start == "scratch" else []

    def parameters(self, session: Workspace) -> nn.Module:
        """Nothing where the head has rows of the source's classes; else the source's classifier, which trains on.

        Rows go by name, or by place where `head_init: source` put them so. Raises InputError for a source without a
        classifier.
        """
        from torch import nn

        from transferkit.errors import InputError

        source, place = session.source_head, {name: row for row, name in enumerate(session.classes)}
        if source is None:
            raise InputError("lwf: the model that this stage starts from has no classifier")
        shared = [name for name in source.classes if name in place]
        self._old = [old for old, name in enumerate(source.classes) if name in place]
        self._rows = [place[name] for name in shared]
        if not shared and session.stage.head_init == "source":
            self._old = self._rows = list(range(len(source.classes)))
        if self._rows:
            return nn.Identity()
        head = nn.Linear(source.weight.shape[1], source.weight.shape[0], bias=source.bias is not None)
        head.load_state_dict(source.tensors())
        return head

    def penalty(self, features: Tensor, logits: Tensor, source_logits: Tensor, own: nn.Module) -> Tensor:
        """What the old classes' answers have moved on this batch; of the classes that both models have."""
        if not self._rows:
            return lwf(own(features), source_logits, self.temperature)
        return lwf(logits[:, self._rows], source_logits[:, self._old], self.temperature)
