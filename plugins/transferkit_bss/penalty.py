"""Batch Spectral Shrinkage (paper 002, Eq. 8): a pure function and the penalty around it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import Stage
    from transferkit.model import TransferModel

log = logging.getLogger(__name__)


def bss(features: Tensor, k: int = 1) -> Tensor:
    """Σ of the k smallest squared singular values of the uncentred (b, d) matrix: Eq. 8 without its strength η.

    With U the k eigenvectors of F Fᵀ that have the smallest eigenvalues, the value is ‖Uᵀ F‖², computed in
    float64 (float32 where the device has none). That is never negative, and its gradient with U held still is
    2 U Uᵀ F, which is the exact one, so nothing is ever differentiated through a decomposition.

    `k` is clamped to min(b, d); an empty matrix gives zero. Returns a scalar in the dtype of `features`,
    float32 for half types; autocast does not change it. Only first derivatives are exact.
    Raises ValueError when `features` is not a finite floating-point matrix or `k` is below 1.
    """
    _refuse(features, k)
    return _smallest(features, k)


def _smallest(features: Tensor, k: int) -> Tensor:
    import torch

    result = torch.promote_types(features.dtype, torch.float32)
    wide = torch.float32 if features.device.type == "mps" else torch.float64
    with torch.autocast(features.device.type, enabled=False):
        matrix = features.to(wide)
        if matrix.shape[0] > matrix.shape[1]:  # the spectra of F and Fᵀ are the same; take the smaller Gram matrix
            matrix = matrix.T
        with torch.no_grad():
            smallest = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, :k]  # eigenvalues ascend
        value: Tensor = (smallest.T @ matrix).square().sum()
    return value.to(result)


def _refuse(features: Tensor, k: int) -> None:
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(
            f"bss needs a floating-point matrix (images, features), not {tuple(features.shape)} of {features.dtype}"
        )
    if k < 1:
        raise ValueError(f"bss: k must be at least 1, not {k}")
    finite = features.detach().isfinite()
    if not finite.all():
        bad = features.numel() - int(finite.sum())
        raise ValueError(
            f"bss: {bad} of {features.numel()} feature values are NaN or infinite, so they have no spectrum; "
            "the training has diverged (lower the learning rate) or the precision overflowed"
        )


def mean_square(features: Tensor) -> Tensor:
    """The mean squared singular value of a (b, d) matrix, ‖F‖²/min(b, d), without gradient."""
    import torch

    wide = features.detach().to(torch.promote_types(features.dtype, torch.float32))
    return wide.square().sum() / max(1, min(features.shape))


@dataclass
class BSS:
    """Suppress the smallest singular values of each batch's feature matrix."""

    k: Annotated[int, Field(ge=1, description="how many of the smallest singular values are penalised")] = 1
    tap: Annotated[
        str | None, Field(description="an inner layer's mean over positions instead of the pooled features")
    ] = None
    scale: Annotated[
        Literal["absolute", "relative"],
        Field(description="relative divides by the mean squared singular value: one weight for all widths"),
    ] = "absolute"

    _reading: Any = field(init=False, default=None, repr=False)
    _warned: bool = field(init=False, default=False, repr=False)

    def check(self, stage: Stage) -> list[str]:
        """k beyond the batch would penalise the whole spectrum."""
        if self.k <= stage.batch_size:
            return []
        return [
            f"k is {self.k}, but a batch of {stage.batch_size} images has at most {stage.batch_size} singular "
            f"values; use k <= {stage.batch_size} (the paper uses 1)"
        ]

    def taps(self, model: TransferModel) -> list[str]:
        """The layer named by `tap`, if any."""
        if self.tap is None:
            return []
        self._reading = model.reading(self.tap)
        return [self.tap]

    def penalty(self, features: Tensor, taps: Mapping[str, Tensor]) -> Tensor:
        """Eq. 8 on the pooled features, or on the pooled output of `tap`. A batch of one image gives zero."""
        matrix = features if self.tap is None else self._reading.pooled(taps[self.tap])
        if matrix.shape[0] < 2:
            return self._skipped(matrix)
        if not matrix.detach().isfinite().all():
            return matrix.sum()  # not finite either: the core refuses such a loss, or lets fp16 skip the step
        value = _smallest(matrix, self.k)
        return value if self.scale == "absolute" else value / mean_square(matrix).clamp(min=1e-30)

    def _skipped(self, matrix: Tensor) -> Tensor:
        """Zero, still in the graph: one row's only singular value is its norm, which is not what BSS means."""
        if not self._warned:
            self._warned = True
            log.warning("bss skips batches of fewer than 2 images: their spectrum says nothing")
        return (matrix * 0.0).sum()
