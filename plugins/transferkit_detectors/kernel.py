"""A kernel map of the fine-tuned features to the source's classes: source memories that no linear map reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession, Observed
    from transferkit.model import TransferModel

RIDGE = (0.03, 0.1, 0.3, 1.0, 3.0)
"""λ, of which leave-one-out takes the best."""


def gaussian_features(x: Tensor, centre: Tensor, scale: Tensor, support: Tensor, width: Tensor) -> Tensor:
    """exp(−‖z − z_i‖² / width), z = (x − centre)·scale, z_i the rows of `support`. (n, d), …, (m, d), () -> (n, m)."""
    z = (x - centre) * scale
    squares = z.square().sum(dim=1, keepdim=True) + support.square().sum(dim=1)
    return ((2 * z @ support.T - squares).clamp_max(0) / width).exp()


def kernel_map(
    x: Tensor, centre: Tensor, scale: Tensor, support: Tensor, width: Tensor, weight: Tensor, bias: Tensor,
    watched: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The log-odds of the watched source classes together, and their logits. (n, d), … -> (n,), (n, m).

    Logits of all source classes are `weight` (m', K_s)ᵀ on the Gaussian features, plus `bias` (K_s,).
    """
    logits = gaussian_features(x, centre, scale, support, width) @ weight + bias
    inside = logits.index_select(1, watched)
    p = (inside.logsumexp(dim=1) - logits.logsumexp(dim=1)).exp()
    return p.clamp(max=1), inside


@dataclass
class KernelMap:
    """Probability of the lingering classes, by kernel ridge regression from the fine-tuned to the source features."""

    images: Annotated[int, Field(ge=2, description="images of each kind that the map keeps, at most")] = 1000
    inner: Annotated[bool, Field(description="also looks at inner layers, averaged over positions")] = False
    standard_audit: ClassVar[float] = 100

    def taps(self, model: TransferModel) -> list[str]:
        """The model's default layers, if inner ones are wanted."""
        return model.default_taps() if self.inner else []

    def fit(self, session: DetectorSession) -> nn.Module:
        """Of the source images and the target's training images, without labels, to the source's features."""
        import torch

        parts = [self._some(session, name) for name in ("source", "train")]
        x, y = (torch.cat(list(both)).double() for both in zip(*parts, strict=True))
        centre, spread = x.mean(dim=0), x.std(dim=0, correction=0)
        scale = torch.where(spread > 1e-12 * spread.max(), 1 / spread, torch.zeros_like(spread))
        support = (x - centre) * scale
        apart = torch.cdist(support, support).square()
        width = apart.median().clamp_min(1e-12)
        values, vectors = torch.linalg.eigh(torch.exp(-apart / width))
        mean = y.mean(dim=0)
        rotated = vectors.T @ (y - mean)

        def dual(lam: float) -> Tensor:
            found: Tensor = vectors @ (rotated / (values.clamp_min(0) + lam)[:, None])
            return found

        def left_out(lam: float) -> float:
            diagonal = vectors.square() @ (1 / (values.clamp_min(0) + lam))
            return float((dual(lam) / diagonal[:, None]).square().sum())

        head = session.source_head
        onto, shift = head.weight.double(), 0 if head.bias is None else head.bias.double()
        tensors = {
            "centre": centre, "scale": scale, "support": support, "width": width, "watched": session.lingering,
            "weight": dual(min(RIDGE, key=left_out)) @ onto.T, "bias": onto @ mean + shift,
        }  # fmt: skip
        return self.restore(tensors)

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit.model import Scorer

        def function(features: Tensor, taps: Mapping[str, Tensor], **fitted: Tensor) -> tuple[Tensor, Tensor]:
            return kernel_map(joined(features, taps), **fitted)

        title = "kernel map of features and inner layers" if self.inner else "kernel map of the features"
        return Scorer(function, title, tensors, tensors["watched"].tolist())

    def _some(self, session: DetectorSession, name: str) -> tuple[Tensor, Tensor]:
        """Inputs and M^s's features of at most so many images, a keyed choice."""
        import torch

        seen: Observed = getattr(session, name)
        chosen = session.rng("kernel_map", name).permutation(len(seen))[: self.images]
        rows = torch.from_numpy(chosen).sort().values
        return joined(seen.features, seen.taps)[rows], seen.source_features[rows]


def joined(features: Tensor, taps: Mapping[str, Tensor]) -> Tensor:
    """Features and layers side by side. (n, d), {layer: (n, C)} -> (n, d + ΣC)."""
    import torch

    return torch.cat([features, *taps.values()], dim=1)
