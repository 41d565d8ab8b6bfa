"""Recall per class and the paper's histogram, by hand, by loops and with exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from transferkit_retention import recall, recall_histogram


def test_recall_by_hand():
    predictions = torch.tensor([0, 1, 1, 2, 0])
    labels = torch.tensor([0, 0, 1, 1, 1])
    found = recall(predictions, labels, 4)
    np.testing.assert_array_equal(found.numpy(), [1 / 2, 1 / 3, np.nan, np.nan])
    assert found.dtype == torch.float64


def test_recall_matches_a_loop():
    rng = np.random.default_rng(0)
    predictions, labels = rng.integers(0, 7, 300), rng.integers(0, 6, 300)
    expected = [np.mean(predictions[labels == c] == c) if (labels == c).any() else np.nan for c in range(7)]
    np.testing.assert_allclose(recall(torch.from_numpy(predictions), torch.from_numpy(labels), 7), expected, rtol=1e-15)


def test_recall_of_nothing_and_of_one_image_per_class():
    assert recall(torch.tensor([]), torch.tensor([]), 2).isnan().all()
    assert recall(torch.tensor([0, 0]), torch.tensor([0, 1]), 2).tolist() == [1.0, 0.0]
    assert recall(torch.tensor([0.0, 1.0]), torch.tensor([0, 1], dtype=torch.int32), 2).tolist() == [1.0, 1.0]


def test_recall_refuses():
    for predictions, labels in (([0, 2], [0, 1]), ([0, 1], [0, 2]), ([0, 1], [-1, 0]), ([0, 0.5], [0, 1])):
        with pytest.raises(ValueError, match="recall"):
            recall(torch.tensor(predictions), torch.tensor(labels), 2)
    with pytest.raises(ValueError, match="there are 1 and 2"):
        recall(torch.tensor([0]), torch.tensor([0, 1]), 2)
    with pytest.raises(ValueError, match="one row"):
        recall(torch.zeros(2, 2), torch.tensor([0, 1]), 2)


def exact_histogram(correct, total):
    """With fractions: no rounding anywhere."""
    counts = [0] * 6
    for hits, images in zip(correct, total, strict=True):
        if images:
            share = Fraction(int(hits), int(images)) * 100
            counts[0 if share <= 50 else max(i for i, low in enumerate((0, 50, 60, 70, 80, 90)) if share >= low)] += 1
    return counts


def test_edges_of_the_bins():
    percent = torch.tensor([0, 50, 51, 59, 60, 69, 70, 79, 80, 89, 90, 100])
    assert recall_histogram(percent, torch.full((12,), 100)).tolist() == [2, 2, 2, 2, 2, 2]
    assert recall_histogram(torch.tensor([1, 3]), torch.tensor([2, 5])).tolist() == [1, 0, 1, 0, 0, 0]


def test_every_fraction_up_to_60_images():
    pairs = [(hits, images) for images in range(61) for hits in range(images + 1)]
    correct, total = (torch.tensor(column) for column in zip(*pairs, strict=True))
    assert recall_histogram(correct, total).tolist() == exact_histogram(correct, total)
    assert recall_histogram(correct.double(), total.int()).tolist() == exact_histogram(correct, total)


def test_classes_without_images_are_left_out():
    assert recall_histogram(torch.tensor([0, 5]), torch.tensor([0, 5])).tolist() == [0, 0, 0, 0, 0, 1]
    assert recall_histogram(torch.tensor([]), torch.tensor([])).tolist() == [0] * 6


def test_large_counts_do_not_overflow():
    big = torch.tensor([2**30], dtype=torch.int32)
    assert recall_histogram(big, big).tolist() == [0, 0, 0, 0, 0, 1]


def test_histogram_refuses():
    for correct, total in (([3], [2]), ([-1], [2]), ([1], [-2]), ([0.5], [2]), ([1], [2, 2])):
        with pytest.raises(ValueError, match="recall_histogram"):
            recall_histogram(torch.tensor(correct), torch.tensor(total))
