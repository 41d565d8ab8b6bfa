"""The focal loss (Lin et al. 2017) for one class out of many, and the asymmetric loss (Ridnik et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

Weight = Annotated[float, Field(ge=0)]


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, alpha: Tensor | None = None) -> Tensor:
    """−α_y (1 − p_y)^γ log p_y for logits (n, K) and labels (n,): losses (n,), which γ = 0 makes cross-entropy.

    Labels (n, K) are shares: the sum over classes, each with its share. `alpha`: (K,), None for ones.
    """
    import torch

    log_p = logits.log_softmax(dim=1)
    # 1 − p with all its digits where p is nearly 1, and above zero, where a root has no gradient
    rest = (-log_p.expm1()).clamp(min=torch.finfo(log_p.dtype).tiny)
    each = -(rest**gamma) * log_p
    each = each if alpha is None else each * alpha
    return (each * labels).sum(dim=1) if labels.ndim == 2 else each.gather(1, labels[:, None]).squeeze(1)


def asymmetric(
    logits: Tensor, labels: Tensor, gamma_positive: float = 1.0, gamma_negative: float = 4.0, clip: float = 0.05
) -> Tensor:
    """timm's asymmetric loss of each class against the rest, summed over classes: (n, K) and (n,) or (n, K) -> (n,)."""
    from timm.loss import AsymmetricLossMultiLabel
    from torch.nn.functional import one_hot

    wanted = labels if labels.ndim == 2 else one_hot(labels, logits.shape[1]).to(logits.dtype)
    loss = AsymmetricLossMultiLabel(gamma_negative, gamma_positive, clip, reduction="none")
    each: Tensor = loss(logits, wanted)
    return each.sum(dim=1)


@dataclass
class Focal:
    """Cross-entropy that counts images the less the surer the model is of their class."""

    gamma: Annotated[float, Field(ge=0, description="0 is cross-entropy")] = 2.0
    alpha: Annotated[
        list[Weight] | Literal["balanced"] | None,
        Field(description="a weight for each class; balanced: inverse to its images, 1 on average over images"),
    ] = None

    def loss(self, logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
        """The losses of a batch. Raises InputError where the weights are not one for each class."""
        from transferkit.errors import InputError

        if self.alpha is None:
            return focal(logits, labels, self.gamma)
        if self.alpha == "balanced":
            weights = class_counts.sum() / (len(class_counts) * class_counts.clamp(min=1))
        elif len(self.alpha) != len(class_counts):
            raise InputError(f"focal: alpha has {len(self.alpha)} weights, but there are {len(class_counts)} classes")
        else:
            weights = logits.new_tensor(self.alpha)
        return focal(logits, labels, self.gamma, weights)


@dataclass
class Asymmetric:
    """Each class against the rest, where sure answers count less, and those of wrong classes least of all."""

    gamma_positive: Annotated[float, Field(ge=0, description="for the image's own class")] = 1.0
    gamma_negative: Annotated[float, Field(ge=0, description="for the other classes")] = 4.0
    clip: Annotated[float, Field(ge=0, lt=1, description="probabilities of other classes below it cost nothing")] = 0.05

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The losses of a batch."""
        return asymmetric(logits, labels, self.gamma_positive, self.gamma_negative, self.clip)
