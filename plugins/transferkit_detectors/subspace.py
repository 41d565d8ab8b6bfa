"""ViM: what lies outside the training images' principal subspace, as one more logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession


def outside(features: Tensor, origin: Tensor, principal: Tensor) -> Tensor:
    """The norm of what the columns of `principal` leave of features − origin. (n, d), (d,), (d, r) -> (n,)."""
    moved = features - origin
    return (moved - moved @ principal @ principal.T).square().sum(dim=1).sqrt()


def vim(features: Tensor, logits: Tensor, origin: Tensor, principal: Tensor, scale: Tensor) -> Tensor:
    """Virtual-logit matching (Wang et al., 2022): the scaled norm outside, less log Σ exp(logit). -> (n,)."""
    return scale * outside(features, origin, principal) - logits.logsumexp(dim=1)


@dataclass
class ViM:
    """The norm outside the principal subspace, less the energy's logits."""

    standard_audit: ClassVar[float] = 80

    def fit(self, session: DetectorSession) -> nn.Module:
        """Origin −W⁺b, subspace and scale, on the target's training images.

        The subspace has 1000 dimensions from 2048 features on, 512 from 768 on, otherwise half; and at most half as
        many as there are training images, because beyond their number nothing would be left outside.
        """
        import torch

        x, weight = session.train.features.double(), session.head.weight.double()
        bias = torch.zeros(len(weight)) if session.head.bias is None else session.head.bias
        width = x.shape[1]
        wanted = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
        kept = max(1, min(wanted, len(x) // 2))
        origin = -torch.linalg.pinv(weight) @ bias.double()
        principal = torch.linalg.svd(x - origin, full_matrices=False).Vh[:kept].T.contiguous()
        typical, largest = outside(x, origin, principal).sum(), session.train.logits.double().amax(dim=1).sum()
        scale = largest / typical if typical > 0 else torch.zeros((), dtype=torch.float64)
        return self.restore({"origin": origin, "principal": principal, "scale": scale})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        return Scorer(vim, "ViM", tensors)
