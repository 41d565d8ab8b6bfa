"""NNGuide: the energy, guided by how like the training images are that the model is sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from transferkit_detectors.distances import unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession


def nnguide(features: Tensor, logits: Tensor, bank: Tensor, place: Tensor) -> Tensor:
    """−log Σ exp(logit) times the mean of the `place` largest products with the bank (Park et al., 2023).

    (n, d), (n, K), rows of length log Σ exp(logit) of the training images (m, d), () int64 -> (n,).
    """
    import torch

    ordered = (unit(features) @ bank.T).sort(dim=1, descending=True).values
    alike = (ordered * (torch.arange(len(bank), device=bank.device) < place)).sum(dim=1) / place
    return -logits.logsumexp(dim=1) * alike


@dataclass
class NNGuide:
    """The energy times the likeness to training images that the model is sure of."""

    k: Annotated[int, Field(ge=1, description="how many of the most alike count")] = 10

    def fit(self, session: DetectorSession) -> nn.Module:
        """Every training image is kept."""
        import torch

        bank = unit(session.train.features.double()) * session.train.logits.double().logsumexp(dim=1, keepdim=True)
        return self.restore({"bank": bank, "place": torch.tensor(min(self.k, len(bank)))})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(nnguide, "NNGuide", tensors)
