"""The votes of source images over target classes (paper 001, Eq. 1) as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor

from transferkit.analysis import answer_counts, share_histogram

BINS = ("0 to 20 %", "20 to 40 %", "40 to 60 %", "60 to 80 %", "80 to 100 %")
"""The bins of `bias_histogram`: a lower edge is in the bin it opens, 100 % in the last."""


def bias(predictions: Tensor, labels: Tensor, num_source_classes: int, num_target_classes: int) -> Tensor:
    """Eq. 1: the share of each source class's images that is predicted as each target class. (K_s, K_t) float64.

    `predictions` (n,) are target classes, `labels` (n,) source classes. A row of NaN where a source class has no
    image. Raises ValueError for ids out of range and for different lengths.
    """
    votes = vote_counts(predictions, labels, num_source_classes, num_target_classes)
    return votes.double() / votes.sum(dim=1, keepdim=True)


def vote_counts(predictions: Tensor, labels: Tensor, num_source_classes: int, num_target_classes: int) -> Tensor:
    """(K_s, K_t) int64: how many images of each source class are predicted as each target class."""
    return answer_counts(labels, predictions, num_source_classes, num_target_classes, "bias")


def bias_histogram(count: Tensor, total: Tensor) -> Tensor:
    """(K_s,) votes for one target class and images per class -> (5,) int64: source classes per bin of table 2.

    The bins are `BINS`: [0, 20), [20, 40), [40, 60), [60, 80), [80, 100] percent. Whole numbers are compared, so
    that 20 of 100 is exactly 20 %. Classes without images are left out. Raises ValueError for counts that are
    negative, not whole, or larger than their total.
    """
    return share_histogram(count, total, (20, 40, 60, 80), "bias_histogram")


def bias_index(bias: Tensor) -> Tensor:
    """(…, K_t) shares -> (…): (max − 1/K)/(1 − 1/K), 0 for an even vote and 1 for one class only.

    With two classes 0.2 and 0.6 are shares of 60 % and 80 %: the edges of the paper's groups, for any number of
    classes. NaN for a row with NaN and for a single target class, where there is nothing to favour.
    """
    shares = bias if bias.is_floating_point() else bias.double()
    chance = 1 / shares.shape[-1]
    if shares.shape[-1] == 1:
        return torch.full_like(shares[..., 0], torch.nan)
    return (shares.amax(dim=-1) - chance) / (1 - chance)


def index_groups(votes: Tensor) -> Tensor:
    """(K_s, K_t) votes -> (K_s,) int64: 0 neutral, 1 slight, 2 high, −1 without images or with one target class.

    The index of the shares is below 0.2, below 0.6 or not; compared in whole numbers, so that 6 of 10 is slight.
    """
    images, targets = votes.sum(dim=1), votes.shape[1]
    scaled = 5 * (targets * votes.amax(dim=1) - images)
    full = images * (targets - 1)
    groups = (scaled >= full).long() + (scaled >= 3 * full).long()
    return torch.where(full > 0, groups, -1)
