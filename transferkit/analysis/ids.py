"""Class ids and counts as the methods need them: whole numbers, in range, int64, on the right device."""

from __future__ import annotations

from collections.abc import Sequence

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


def whole_counts(values: Tensor, what: str, device: torch.device | None = None) -> Tensor:
    """(m,) int64, none negative. Raises ValueError for anything else."""
    found = whole(values, what, device)
    if found.numel() and int(found.min()) < 0:
        raise ValueError(f"{what} must not be negative")
    return found


def same_length(one: Tensor, other: Tensor, what: str) -> None:
    """Raises ValueError unless both have the same number of entries."""
    if len(one) != len(other):
        raise ValueError(f"{what} must belong together, but there are {len(one)} and {len(other)} of them")


def share_histogram(hits: Tensor, totals: Tensor, edges: Sequence[int], what: str, least_above: bool = False) -> Tensor:
    """(len(edges) + 1,) int64: how many of the K classes have a share hits / totals in each bin between the `edges`.

    Edges are whole per cents, and whole numbers are compared: 3 of 5 is exactly 60 %. An edge opens its bin; with
    `least_above` the least closes the bin below it. Classes without images are left out. Raises ValueError, which
    starts with `what`, for counts (K,) that are negative, not whole, or larger than their total.
    """
    images = whole_counts(totals, f"{what}: the totals")
    counts = whole_counts(hits, f"{what}: the counts", images.device)
    same_length(counts, images, f"{what}: counts and totals")
    if bool((counts > images).any()):
        raise ValueError(f"{what}: a class has a larger count than images")
    counts, images = 100 * counts[images > 0], images[images > 0]
    bins = torch.zeros_like(counts)
    for number, edge in enumerate(sorted(edges)):
        bins += counts > edge * images if least_above and not number else counts >= edge * images
    return torch.bincount(bins, minlength=len(edges) + 1)


def answer_counts(labels: Tensor, predictions: Tensor, num_labels: int, num_answers: int, what: str) -> Tensor:
    """(num_labels, num_answers) int64: how many of the n images of each class got each answer.

    Raises ValueError, which starts with `what`, for ids out of range and for different lengths.
    """
    rows = class_ids(labels, num_labels, f"{what}: the labels")
    columns = class_ids(predictions, num_answers, f"{what}: the predictions", rows.device)
    same_length(columns, rows, f"{what}: predictions and labels")
    cells = torch.bincount(rows * num_answers + columns, minlength=num_labels * num_answers)
    return cells.reshape(num_labels, num_answers)
