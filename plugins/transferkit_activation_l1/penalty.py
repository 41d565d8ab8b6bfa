"""L1 on activations (paper 000, appendix B): as few and as weak features as the target task can do with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.model import TransferModel


def activation_l1(activations: Tensor) -> Tensor:
    """The mean magnitude of all elements: (1/bd) Σ|f| for features (b, d), zero for an empty tensor.

    Differentiable with gradient sign(f)/bd, 0 at 0. A scalar in the input's dtype, float32 for half types.
    """
    wide = activations.float() if activations.dtype.itemsize < 4 else activations
    return wide.abs().sum() / max(wide.numel(), 1)


@dataclass
class ActivationL1:
    """Keep activations small and sparse, so that fewer irrelevant features are there to interfere."""

    tap: Annotated[str | None, Field(description="an inner layer's output instead of the pooled features")] = None

    def taps(self, model: TransferModel) -> list[str]:
        """The layer named by `tap`, if any."""
        return [] if self.tap is None else [self.tap]

    def penalty(self, features: Tensor, taps: Mapping[str, Tensor]) -> Tensor:
        """The mean magnitude of the pooled features, or of what `tap` puts out."""
        return activation_l1(features if self.tap is None else taps[self.tap])
