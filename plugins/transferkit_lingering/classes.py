"""Class ids and counts as the methods need them: whole numbers, in range, int64, on the right device."""

from __future__ import annotations

import torch
from torch import Tensor


def whole(values: Tensor, what: str, device: torch.device | None = None) -> Tensor:
    """(m,) int64. Raises ValueError for another shape, for fractions and for values that are not finite."""
    found = torch.as_tensor(values, device=device)
    if found.ndim != 1 or found.is_complex() or found.dtype == torch.bool:
        raise ValueError(f"{what} must be one row of whole numbers, not {tuple(found.shape)} of {found.dtype}")
    ids = found.to(torch.int64)
    if found.is_floating_point() and not torch.equal(ids.to(found.dtype), found):
        raise ValueError(f"{what} must be whole numbers")
    return ids


def class_ids(values: Tensor, num_classes: int, what: str, device: torch.device | None = None) -> Tensor:
    """(m,) int64 within 0..num_classes-1. Raises ValueError for anything else."""
    ids = whole(values, what, device)
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < num_classes:
        raise ValueError(f"{what} must lie within 0..{num_classes - 1}, not {int(ids.min())}..{int(ids.max())}")
    return ids


def counts(values: Tensor, what: str, device: torch.device | None = None) -> Tensor:
    """(m,) int64, none negative. Raises ValueError for anything else."""
    found = whole(values, what, device)
    if found.numel() and int(found.min()) < 0:
        raise ValueError(f"{what} must not be negative")
    return found


def same_length(one: Tensor, other: Tensor, what: str) -> None:
    """Raises ValueError unless both have the same number of entries."""
    if len(one) != len(other):
        raise ValueError(f"{what} must belong together, but there are {len(one)} and {len(other)} of them")
