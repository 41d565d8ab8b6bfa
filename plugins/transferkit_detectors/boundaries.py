"""How far features lie from the classifier's boundaries, and how well they point along its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from transferkit_detectors.activations import classifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession


def fdbd(features: Tensor, logits: Tensor, centre: Tensor, apart: Tensor) -> Tensor:
    """Minus the mean distance to the boundaries of the predicted class, over that to the mean (Liu and Qin, 2024).

    (n, d), (n, K), mean of the training images (d,), ‖w_i − w_j‖ (K, K) with ones on the diagonal -> (n,).
    """
    gaps = logits.amax(dim=1, keepdim=True) - logits
    distances = (gaps / apart.index_select(0, logits.argmax(dim=1))).sum(dim=1) / max(1, logits.shape[1] - 1)
    return -distances / (features - centre).square().sum(dim=1).sqrt().clamp_min(1e-12)


def nci(features: Tensor, logits: Tensor, centre: Tensor, weight: Tensor, strength: Tensor) -> Tensor:
    """−(f − μ)·w_c / ‖f − μ‖ − α‖f‖₁, c the predicted class (Liu and Qin, NCI, 2025). (n, d), (n, K), … -> (n,)."""
    moved = features - centre
    along = (moved * weight.index_select(0, logits.argmax(dim=1))).sum(dim=1)
    near = along / moved.square().sum(dim=1).sqrt().clamp_min(1e-12)
    return -near - strength * features.abs().sum(dim=1)


@dataclass
class FDBD:
    """How close the features lie to the boundaries between the predicted class and the others."""

    def fit(self, session: DetectorSession) -> nn.Module:
        """The mean of the target's training images, and how far the classifier's rows are apart."""
        import torch

        weight = session.head.weight.double()
        apart = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist").clamp_min(1e-12)
        return self.restore({"centre": session.train.features.double().mean(dim=0), "apart": apart.fill_diagonal_(1.0)})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(fdbd, "fDBD", tensors)


@dataclass
class NCI:
    """How well the features point along the predicted class's weights, and how long they are."""

    alpha: Annotated[float, Field(ge=0, description="α: how much the length ‖f‖₁ counts")] = 1e-4

    def fit(self, session: DetectorSession) -> nn.Module:
        """The mean of the target's training images, and the classifier's rows."""
        import torch

        return self.restore(
            {
                "centre": session.train.features.double().mean(dim=0),
                "weight": classifier(session)["weight"],
                "strength": torch.tensor(self.alpha, dtype=torch.float64),
            }
        )

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(nci, "NCI", tensors)
