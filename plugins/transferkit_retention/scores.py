"""Recall per source class and the histogram of paper 001, table 1, as pure functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from transferkit.analysis import class_ids, same_length, share_histogram

BINS = ("≤ 50 %", "50 to 60 %", "60 to 70 %", "70 to 80 %", "80 to 90 %", "90 to 100 %")
"""The bins of `recall_histogram`: exactly 50 % is in the first, any other lower edge in the bin it opens."""


def recall(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(n,) predicted and true classes -> (K,) float64: the share of each class's images that is recognised.

    NaN for a class without images. Raises ValueError for ids out of range and for different lengths.
    """
    correct, total = recall_counts(predictions, labels, num_classes)
    return correct.double() / total


def recall_counts(predictions: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Per class how many of its images are recognised, and how many it has: two (K,) int64."""
    true = class_ids(labels, num_classes, "recall: the labels")
    predicted = class_ids(predictions, num_classes, "recall: the predictions", true.device)
    same_length(predicted, true, "recall: predictions and labels")
    correct = torch.bincount(true[predicted == true], minlength=num_classes)
    return correct, torch.bincount(true, minlength=num_classes)


def recalls(correct: Tensor | None, total: Tensor) -> list[float]:
    """Recall per class from counts; NaN without images, and everywhere when the correct ones are not known."""
    if correct is None:
        return [math.nan] * len(total)
    shares: list[float] = (correct.double() / total).tolist()
    return shares


def recall_histogram(correct: Tensor, total: Tensor) -> Tensor:
    """(K,) recognised images and images per class -> (6,) int64: how many classes have a recall in each bin.

    The bins are those of table 1, `BINS`: ≤50, (50, 60), [60, 70), [70, 80), [80, 90), [90, 100] percent. Whole
    numbers are compared, so that 3 of 5 is exactly 60 %. Classes without images are left out. Raises ValueError
    for counts that are negative, not whole, or larger than their total.
    """
    return share_histogram(correct, total, (50, 60, 70, 80, 90), "recall_histogram", least_above=True)
