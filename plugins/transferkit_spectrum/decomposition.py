"""Left singular vectors in float64, from a wide matrix through the triangle of its QR decomposition."""

from __future__ import annotations

import torch
from torch import Tensor


def wide_type(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices that have none."""
    return torch.float32 if device.type == "mps" else torch.float64


def left_singular(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """(o, m) -> the left singular vectors (o, min(o, m)) and the singular values (min(o, m),), descending.

    No gradient. A wide matrix W has the left singular vectors of Rᵀ, where Wᵀ = QR: as exact as the SVD of W, up to
    eight times faster, because neither Q nor the long right vectors are formed.
    """
    with torch.no_grad(), torch.autocast(matrix.device.type, enabled=False):
        wide = matrix.detach().to(wide_type(matrix.device))
        if wide.shape[0] < wide.shape[1]:
            wide = torch.linalg.qr(wide.mT, mode="r").R.mT
        vectors, values, _ = torch.linalg.svd(wide, full_matrices=False)
    return vectors, values
