"""Equations 1 to 3 against counts by hand and by loops."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from transferkit.analysis import lingering, prevalence, source_only

NAN = float("nan")


def loop_prevalence(scores, k):
    """Sort every row by (score down, class up) and count."""
    found = [0] * scores.shape[1]
    for row in scores.tolist():
        for best in sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]:
            found[best] += 1
    return found


def loop_lingering(probabilities, labels, candidates, p_lo):
    found = []
    for c in sorted(set(candidates)):
        own = [float(probabilities[i, c]) for i in range(len(labels)) if labels[i] == c]
        if own and np.mean(own) > p_lo:
            found.append(c)
    return found


def test_prevalence_by_hand():
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 5.0, 4.0, 1.0]])
    assert prevalence(scores, 1).tolist() == [1, 1, 0, 0]
    assert prevalence(scores, 2).tolist() == [1, 2, 1, 0]
    assert prevalence(scores, 3).tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize("levels", [2, 3, 1000])
@pytest.mark.parametrize("k", [1, 2, 5, 11])
def test_prevalence_matches_a_loop_also_with_many_ties(levels, k):
    scores = np.random.default_rng(levels).integers(0, levels, (60, 11)).astype(np.float32)
    assert prevalence(torch.from_numpy(scores), k).tolist() == loop_prevalence(scores, k)


def test_ties_go_to_the_lower_class():
    assert prevalence(torch.zeros(7, 2000), 3).nonzero().flatten().tolist() == [0, 1, 2]
    assert prevalence(torch.tensor([[1.0, 2.0, 2.0, 2.0]]), 2).tolist() == [0, 1, 1, 0]
    assert prevalence(torch.tensor([[0.0, -0.0, 1.0]]), 2).tolist() == [1, 0, 1]
    assert prevalence(torch.full((1, 3), -torch.inf), 1).tolist() == [1, 0, 0]


def test_prevalence_of_logits_is_that_of_probabilities():
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(prevalence(logits, 3), prevalence(logits.softmax(dim=1), 3))


def test_prevalence_is_the_same_in_pieces(monkeypatch):
    scores = torch.randint(0, 4, (23, 6), generator=torch.Generator().manual_seed(1))
    whole = prevalence(scores, 2)
    monkeypatch.setattr("transferkit.analysis.source_sets.ROWS", 5)
    assert torch.equal(prevalence(scores, 2), whole)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float16, torch.bfloat16, torch.float64])
def test_prevalence_of_any_dtype(dtype):
    scores = torch.tensor([[0, 1, 1], [1, 0, 0]]).to(dtype)
    counts = prevalence(scores, 2)
    assert counts.tolist() == [1, 2, 1]
    assert counts.dtype == torch.int64


def test_prevalence_of_nothing_and_of_too_large_a_k():
    assert prevalence(torch.empty(0, 4), 2).tolist() == [0, 0, 0, 0]
    assert prevalence(torch.empty(3, 0), 2).tolist() == []
    assert prevalence(torch.randn(5, 3), 99).tolist() == [5, 5, 5]


def test_prevalence_refuses():
    with pytest.raises(ValueError, match="NaN"):
        prevalence(torch.tensor([[0.0, NAN]]), 1)
    with pytest.raises(ValueError, match="shape"):
        prevalence(torch.zeros(3), 1)
    with pytest.raises(ValueError, match="at least 1"):
        prevalence(torch.zeros(1, 3), 0)


def test_source_only_is_inclusive_and_sorted():
    counts = torch.tensor([4, 0, 2, 3, 2])
    assert source_only(counts, 2).tolist() == [1, 2, 4]
    assert source_only(counts, 2.5).tolist() == [1, 2, 4]
    assert source_only(counts, 0).tolist() == [1]
    assert source_only(counts, -1).tolist() == []
    assert source_only(counts, float("inf")).tolist() == [0, 1, 2, 3, 4]
    assert source_only(counts, 2).dtype == torch.int64
    assert source_only(counts.double(), 2).tolist() == [1, 2, 4]
    assert source_only(counts[:0], 2).tolist() == []


def test_source_only_compares_large_counts_exactly():
    assert source_only(torch.tensor([2**24 + 1, 2**24]), 2**24).tolist() == [1]


def test_source_only_grows_with_v_lo_and_shrinks_with_k():
    scores = torch.randn(40, 15, generator=torch.Generator().manual_seed(2))
    sets = [set(source_only(prevalence(scores, 3), v).tolist()) for v in range(8)]
    assert all(small <= large for small, large in pairwise(sets))
    sets = [set(source_only(prevalence(scores, k), 4).tolist()) for k in range(1, 8)]
    assert all(small >= large for small, large in pairwise(sets))


def test_source_only_refuses():
    with pytest.raises(ValueError, match="NaN"):
        source_only(torch.tensor([1.0, NAN]), 1)
    with pytest.raises(ValueError, match="NaN"):
        source_only(torch.tensor([1]), NAN)
    with pytest.raises(ValueError, match="shape"):
        source_only(torch.zeros(2, 2), 1)


def test_lingering_by_hand():
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.75, 0.25], [0.25, 0.25, 0.5], [0.0, 0.25, 0.75]])
    labels = torch.tensor([0, 0, 1, 2])
    everyone = torch.arange(3)  # means of their own class: 0.25, 0.25, 0.75
    assert lingering(probabilities, labels, everyone, 0.25).tolist() == [2]
    assert lingering(probabilities, labels, everyone, 0.2).tolist() == [0, 1, 2]
    assert lingering(probabilities, labels, torch.tensor([2, 0, 0]), 0.2).tolist() == [0, 2]
    assert lingering(probabilities, labels, torch.tensor([], dtype=torch.int64), 0.2).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_lingering_matches_a_loop(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(12, 0.3), 80)
    labels, candidates = rng.integers(0, 10, 80), rng.choice(12, 8)
    found = lingering(torch.from_numpy(probabilities), torch.from_numpy(labels), torch.from_numpy(candidates), 0.1)
    assert found.tolist() == loop_lingering(probabilities, labels, candidates.tolist(), 0.1)
    assert found.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("value", [0.01, 0.1, 0.3])
def test_a_mean_equal_to_the_threshold_is_not_above_it(dtype, value):
    probabilities = torch.full((7, 2), value, dtype=dtype)
    labels = torch.zeros(7, dtype=torch.int64)
    assert lingering(probabilities, labels, torch.tensor([0]), value).tolist() == []
    assert lingering(probabilities, labels, torch.tensor([0]), value * 0.99).tolist() == [0]


def test_a_class_without_images_is_never_in():
    probabilities = torch.ones(2, 3)
    assert lingering(probabilities, torch.tensor([1, 1]), torch.arange(3), 0.5).tolist() == [1]
    assert lingering(probabilities[:0], torch.tensor([]), torch.arange(3), 0.0).tolist() == []
    assert lingering(probabilities, torch.tensor([1, 1]), torch.arange(3), -1.0).tolist() == [1]


def test_one_image_per_class_and_labels_as_floats():
    probabilities = torch.eye(4)
    assert lingering(probabilities, torch.arange(4).double(), torch.arange(4).int(), 0.9).tolist() == [0, 1, 2, 3]


def test_lingering_refuses():
    good, labels = torch.rand(3, 2), torch.tensor([0, 1, 1])
    for wrong in (torch.tensor([0, 1, 2]), torch.tensor([0, -1, 1]), torch.tensor([0.5, 0.0, 1.0]), labels.bool()):
        with pytest.raises(ValueError, match="labels"):
            lingering(good, wrong, labels, 0.1)
    with pytest.raises(ValueError, match="candidates"):
        lingering(good, labels, torch.tensor([2]), 0.1)
    with pytest.raises(ValueError, match="there are 3 and 2"):
        lingering(good, labels[:2], labels, 0.1)
    with pytest.raises(ValueError, match="NaN"):
        lingering(torch.tensor([[NAN, 0.5]]), torch.tensor([0]), torch.tensor([0]), 0.1)
    with pytest.raises(ValueError, match="p_lo"):
        lingering(good, labels, labels, NAN)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_results_are_on_the_inputs_device():
    scores = torch.randn(6, 4, device="cuda")
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    counts = prevalence(scores, 2)
    found = lingering(scores.softmax(1), labels, source_only(counts, 3), 0.1)
    assert counts.is_cuda and found.is_cuda
    assert torch.equal(counts.cpu(), prevalence(scores.cpu(), 2))
