"""The vote per source class, its bins and its index, by hand, by loops and with exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from transferkit_bias import bias, bias_histogram, bias_index
from transferkit_bias.votes import index_groups


def test_bias_by_hand():
    found = bias(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 0, 2]), 3, 3)
    np.testing.assert_array_equal(found.numpy(), [[1 / 3, 2 / 3, 0], [np.nan] * 3, [0, 0, 1]])
    assert found.dtype == torch.float64


def test_bias_matches_a_loop_and_sums_to_one():
    rng = np.random.default_rng(0)
    votes, labels = rng.integers(0, 4, 500), rng.integers(0, 9, 500)
    expected = np.full((10, 4), np.nan)
    for i in range(9):
        expected[i] = [np.mean(votes[labels == i] == j) for j in range(4)]
    found = bias(torch.from_numpy(votes), torch.from_numpy(labels), 10, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    np.testing.assert_allclose(found.sum(dim=1)[:9], 1, rtol=1e-12)


def test_bias_of_nothing():
    found = bias(torch.tensor([]), torch.tensor([]), 2, 3)
    assert found.shape == (2, 3)
    assert found.isnan().all()


def test_bias_refuses():
    for predictions, labels in (([2], [0]), ([-1], [0]), ([0], [3]), ([0, 1], [0]), ([0.5], [0])):
        with pytest.raises(ValueError, match="bias"):
            bias(torch.tensor(predictions), torch.tensor(labels), 3, 2)


def test_histogram_edges():
    percent = torch.tensor([0, 19, 20, 39, 40, 59, 60, 79, 80, 100])
    assert bias_histogram(percent, torch.full((10,), 100)).tolist() == [2, 2, 2, 2, 2]
    assert bias_histogram(torch.tensor([0, 1]), torch.tensor([0, 5])).tolist() == [0, 1, 0, 0, 0]
    assert bias_histogram(torch.tensor([]), torch.tensor([])).tolist() == [0] * 5


def test_histogram_of_every_fraction_up_to_60_images():
    pairs = [(votes, images) for images in range(1, 61) for votes in range(images + 1)]
    expected = [0] * 5
    for votes, images in pairs:
        expected[min(4, int(Fraction(votes, images) * 5))] += 1
    count, total = (torch.tensor(column) for column in zip(*pairs, strict=True))
    assert bias_histogram(count, total).tolist() == expected
    assert bias_histogram(count.float(), total.float()).tolist() == expected


def test_histogram_refuses():
    for count, total in (([3], [2]), ([-1], [2]), ([0.5], [2]), ([1], [2, 2])):
        with pytest.raises(ValueError, match="bias_histogram"):
            bias_histogram(torch.tensor(count), torch.tensor(total))


def test_index_by_hand():
    shares = torch.tensor([[0.5, 0.5], [0.6, 0.4], [0.2, 0.8], [1.0, 0.0]], dtype=torch.float64)
    np.testing.assert_allclose(bias_index(shares), [0, 0.2, 0.6, 1], atol=1e-15)
    np.testing.assert_allclose(bias_index(torch.tensor([0.25, 0.25, 0.25, 0.25])), 0, atol=1e-7)
    np.testing.assert_allclose(bias_index(torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64)), 0.6, rtol=1e-12)


def test_index_keeps_shape_dtype_and_nan():
    assert bias_index(torch.rand(2, 5, 3)).shape == (2, 5)
    assert bias_index(torch.rand(2, 3)).dtype == torch.float32
    assert bias_index(torch.tensor([[1, 0]])).tolist() == [1.0]
    assert bias_index(torch.tensor([[torch.nan, torch.nan], [1.0, 0.0]])).isnan().tolist() == [True, False]
    assert bias_index(torch.ones(4, 1)).isnan().all()
    assert bias_index(torch.empty(0, 2)).shape == (0,)


@pytest.mark.parametrize("targets", [2, 3, 7])
def test_groups_are_exact(targets):
    rng = np.random.default_rng(targets)
    votes = np.array([rng.multinomial(n, np.full(targets, 1 / targets)) for n in range(60) for _ in range(20)])
    expected = []
    for row in votes.tolist():
        if sum(row) == 0:
            expected.append(-1)
            continue
        chance = Fraction(1, targets)
        index = (Fraction(max(row), sum(row)) - chance) / (1 - chance)
        expected.append(0 if index < Fraction(1, 5) else 1 if index < Fraction(3, 5) else 2)
    assert index_groups(torch.from_numpy(votes)).tolist() == expected


def test_groups_at_the_papers_edges():
    votes = torch.tensor([[6, 4], [59, 41], [2, 8], [79, 21], [5, 5]])
    assert index_groups(votes).tolist() == [1, 0, 2, 1, 0]
    assert index_groups(torch.tensor([[3], [0]])).tolist() == [-1, -1]
