"""The detector `flat_logits`: what the classifier gives little energy is unlike what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import transferkit
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transferkit import Register


def flat_logits(logits: Tensor, temperature: Tensor) -> Tensor:
    """Minus the energy of the logits: (n, K), () -> (n,). Whatever the tensors are called, it asks for by name."""
    energy: Tensor = (logits / temperature).logsumexp(dim=1)
    return -temperature * energy


@dataclass
class FlatLogits:
    """Distrust images to which the classifier gives little energy."""

    temperature: Annotated[float, Field(gt=0, description="T of the energy")] = 1.0

    def fit(self) -> nn.Module:
        """The module that is saved and exported with the model; ask for `session` to fit it to images."""
        import torch

        return self.restore({"temperature": torch.tensor(self.temperature)})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The same from its tensors, when a model folder is opened."""
        from transferkit.model import Scorer

        return Scorer(flat_logits, "little energy", tensors)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Tell transferkit what this package offers."""
    register.detector("flat_logits", FlatLogits)
