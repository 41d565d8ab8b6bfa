"""Truncated SVD of a batch's features (paper 002, Eq. 10): a pure function and the training option around it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import Stage

log = logging.getLogger(__name__)


def truncate(features: Tensor, r: int) -> Tensor:
    """The (b, d) features without their r smallest singular components: F − U Uᵀ F, Eq. 10.

    U are the left singular vectors of the r smallest of the min(b, d) singular values, computed in float64 and held
    still, so the gradient is that of a fixed projection, (I − U Uᵀ) G: defined where values coincide too. The energy
    removed is Σ of the dropped squared values, which is BSS with k = r. `r` beyond min(b, d) leaves zeros; 0 nothing
    out. Returns the dtype of `features`. Raises ValueError for a negative r and for what is no finite matrix.
    """
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(
            f"truncate needs a floating-point matrix (images, features), not {tuple(features.shape)} of "
            f"{features.dtype}"
        )
    if r < 0:
        raise ValueError(f"truncate: r must be at least 0, not {r}")
    if not features.detach().isfinite().all():
        raise ValueError("truncate: some feature values are NaN or infinite, so they have no spectrum")
    return _without_smallest(features, r)


def _without_smallest(features: Tensor, r: int) -> Tensor:
    import torch

    from transferkit_spectrum.angles import left_singular

    smaller = min(features.shape)
    if not r or not smaller:
        return features
    with torch.autocast(features.device.type, enabled=False):
        small = left_singular(features)[0][:, max(0, smaller - r) :]
        wide = features.to(small.dtype)
        kept: Tensor = wide - small @ (small.mT @ wide)
    return kept.to(features.dtype)


@dataclass
class TSVD:
    """Train the classifier on features without the smallest singular components of each batch."""

    r: Annotated[int, Field(ge=1, description="how many of the smallest singular components are left out")] = 1

    _warned: bool = field(init=False, default=False, repr=False)

    def check(self, stage: Stage) -> list[str]:
        """Leaving out every component would leave nothing to classify."""
        if self.r < stage.batch_size:
            return []
        return [
            f"r is {self.r}, but a batch of {stage.batch_size} images has at most {stage.batch_size} singular "
            f"components, so nothing would be left; use r < {stage.batch_size} (the paper uses 1, 2, 4 and 8)"
        ]

    def transform_features(self, features: Tensor) -> Tensor:
        """Eq. 10 on the features of a batch, in training only. A batch with at most r components stays as it is."""
        if min(features.shape) <= self.r:
            if len(features) and not self._warned:
                self._warned = True
                text = "tsvd leaves batches of at most %d singular components as they are; one of %d images came"
                log.warning(text, self.r, len(features))
            return features
        if not features.detach().isfinite().all():
            return features  # the loss will not be finite either: the core refuses it, or lets fp16 skip the step
        return _without_smallest(features, self.r)
