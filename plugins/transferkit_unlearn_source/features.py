"""Appendix B of paper 000 as pure functions: which features a class has, and which only source classes have."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def active_features(features: Tensor, labels: Tensor, num_classes: int, threshold: float) -> Tensor:
    """Eq. 6 and 7 for every class: (n, d) activations, (n,) labels -> (K, d) bool.

    Feature i belongs to class c when it is above the threshold (strictly) on every image of c. A class without
    images has no feature. Raises ValueError for NaN and for shapes that do not fit.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"active_features: features (n, d) and labels (n,) are needed, not {tuple(features.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if bool(features.isnan().any()):
        raise ValueError("active_features: the features contain NaN; the model's weights or the images are broken")
    silent = (features <= threshold).to(torch.int64)
    count = torch.zeros(num_classes, features.shape[1], dtype=torch.int64, device=features.device)
    count.index_add_(0, labels.long(), silent)
    images = torch.bincount(labels.long(), minlength=num_classes)
    return (count == 0) & (images > 0)[:, None]


def source_features(source: Tensor, target: Tensor) -> Tensor:
    """{f in some source-only class's features, f in no target class's}: (K_s, d) and (K_t, d) bool -> sorted (m,) ids.

    `source` holds the rows of source-only classes.
    """
    return torch.nonzero(source.any(dim=0) & ~target.any(dim=0)).flatten()


def source_probability(source_logits: Tensor, classes: Tensor | Iterable[int]) -> Tensor:
    """(n, K) -> (n,): the softmax probability, over all K source classes, of these classes together.

    Differentiable; in the logits' dtype, float32 for half types. No classes give zeros.
    """
    wide = source_logits.float() if source_logits.dtype.itemsize < 4 else source_logits
    ids = torch.as_tensor(classes if isinstance(classes, Tensor) else list(classes), dtype=torch.int64)
    return wide.softmax(dim=1)[:, ids.to(wide.device)].sum(dim=1)
