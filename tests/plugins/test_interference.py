"""Scores against a softmax by hand, thresholds against SciPy's other route and against a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch
from scipy.stats import binom
from transferkit_interference import conformal_threshold, interference_score


def logits_of(n=20, classes=9, seed=0):
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_scores_match_scipy(dtype):
    logits, chosen = logits_of().to(dtype), [1, 4, 7]
    expected = scipy.special.softmax(logits.double().numpy(), axis=1)[:, chosen]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-7
    np.testing.assert_allclose(interference_score(logits, torch.tensor(chosen)), expected.max(axis=1), atol=tolerance)
    np.testing.assert_allclose(
        interference_score(logits, torch.tensor(chosen), "sum"), expected.sum(axis=1), atol=tolerance
    )
    assert interference_score(logits, torch.tensor(chosen)).dtype == dtype


def test_scores_by_hand():
    logits = torch.tensor([[0.0, 0.0, math.log(2)]], dtype=torch.float64)  # probabilities 1/4, 1/4, 1/2
    assert interference_score(logits, torch.tensor([0, 1])).item() == pytest.approx(0.25)
    assert interference_score(logits, torch.tensor([0, 1]), reduction="sum").item() == pytest.approx(0.5)
    assert interference_score(logits, torch.tensor([0, 1, 2]), reduction="sum").item() == pytest.approx(1.0)


def test_no_lingering_class_gives_zero():
    empty = torch.tensor([], dtype=torch.int64)
    for reduction in ("max", "sum"):
        assert interference_score(logits_of(), empty, reduction).tolist() == [0.0] * 20
    assert interference_score(torch.empty(0, 3), torch.tensor([1])).shape == (0,)
    assert interference_score(logits_of(), torch.tensor([])).tolist() == [0.0] * 20


def test_order_repeats_shift_and_pieces_do_not_matter(monkeypatch):
    logits = logits_of()
    expected = interference_score(logits, torch.tensor([2, 5]), "sum")
    torch.testing.assert_close(interference_score(logits, torch.tensor([5, 2, 2]), "sum"), expected)
    torch.testing.assert_close(interference_score(logits + 700, torch.tensor([2, 5]), "sum"), expected)
    monkeypatch.setattr("transferkit_interference.score.ROWS", 3)
    torch.testing.assert_close(interference_score(logits, torch.tensor([2, 5]), "sum"), expected)


def test_extreme_and_half_logits():
    assert interference_score(torch.tensor([[1e4, -1e4]]), torch.tensor([0])).item() == 1.0
    assert interference_score(torch.tensor([[0.0, -torch.inf]]), torch.tensor([1])).item() == 0.0
    assert interference_score(logits_of().half(), torch.tensor([0])).dtype == torch.float32
    assert interference_score(torch.tensor([[0, 0]]), torch.tensor([0])).tolist() == [0.5]


def test_score_refuses():
    for broken in (torch.tensor([[0.0, torch.nan]]), torch.tensor([[0.0, torch.inf]])):
        with pytest.raises(ValueError, match="NaN or infinite"):
            interference_score(broken, torch.tensor([0]))
    for ids in ([9], [-1], [0.5]):
        with pytest.raises(ValueError, match="lingering classes"):
            interference_score(logits_of(), torch.tensor(ids))
    with pytest.raises(ValueError, match="one row"):
        interference_score(logits_of(), torch.ones(9, dtype=torch.bool))
    with pytest.raises(ValueError, match="reduction"):
        interference_score(logits_of(), torch.tensor([0]), "mean")
    with pytest.raises(ValueError, match="images, classes"):
        interference_score(torch.zeros(3), torch.tensor([0]))


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [(19, 0.1, 18), (19, 0.05, 19), (99, 0.05, 95), (99, 0.07, 93), (9, 0.3, 7), (999, 0.001, 999), (100, 0.05, 96)],
)
def test_marginal_rank_by_hand(n, alpha, rank):
    scores = torch.arange(1, n + 1).flip(0)
    assert conformal_threshold(scores, alpha) == rank
    assert isinstance(conformal_threshold(scores, alpha), float)


def test_rank_survives_binary_fractions():
    for n in (9, 19, 49, 99, 199, 999):
        for percent in range(1, 100):
            exact = -(-(n + 1) * (100 - percent) // 100)
            found = conformal_threshold(torch.arange(1, n + 1, dtype=torch.float64), percent / 100)
            assert found == (exact if exact <= n else math.inf), (n, percent)


@pytest.mark.parametrize(("alpha", "confidence", "n"), [(0.05, 0.95, 59), (0.1, 0.9, 22), (0.01, 0.99, 459)])
def test_the_smallest_sample_that_buys_the_confidence(alpha, confidence, n):
    assert conformal_threshold(torch.arange(1, n + 1), alpha, confidence) == n
    assert conformal_threshold(torch.arange(1, n), alpha, confidence) == math.inf


@pytest.mark.parametrize(("n", "alpha", "confidence"), [(500, 0.05, 0.9), (1000, 0.01, 0.95), (80, 0.2, 0.5)])
def test_confident_rank_matches_the_binomial(n, alpha, confidence):
    """P(Beta(n+1−k, k) ≤ α) is the chance that at least n+1−k of n uniform scores exceed 1−α."""
    expected = next(k for k in range(1, n + 1) if binom.sf(n - k, n, alpha) >= confidence)
    assert conformal_threshold(torch.arange(1, n + 1), alpha, confidence) == expected


def test_known_confident_rank():
    assert conformal_threshold(torch.arange(1, 501), 0.05, 0.9) == 482


def test_too_few_scores_never_flag():
    assert conformal_threshold(torch.tensor([]), 0.05) == math.inf
    assert conformal_threshold(torch.tensor([]), 0.05, 0.95) == math.inf
    assert conformal_threshold(torch.arange(18), 0.05) == math.inf
    assert conformal_threshold(torch.tensor([3.0]), 0.5) == 3.0


def test_threshold_refuses():
    with pytest.raises(ValueError, match="NaN"):
        conformal_threshold(torch.tensor([0.0, torch.nan]), 0.1)
    for alpha in (0, 1, -0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="alpha"):
            conformal_threshold(torch.arange(9), alpha)
    with pytest.raises(ValueError, match="confidence"):
        conformal_threshold(torch.arange(9), 0.1, 1.0)


@pytest.mark.parametrize("levels", [0, 7])
def test_the_promise_holds_in_a_simulation(levels):
    """False alarms of thresholds from thousands of calibration sets; scores are uniform, or tied on 7 levels."""
    rng = np.random.default_rng(0)
    alpha, n, sets = 0.1, 60, 4000
    draws = rng.integers(0, levels, (sets, n)) / levels if levels else rng.random((sets, n))

    def rates(confidence):
        found = np.array([conformal_threshold(torch.from_numpy(row), alpha, confidence) for row in draws])
        return 1 - (np.floor(found * levels + 1e-9) + 1) / levels if levels else 1 - found

    marginal, confident = rates(None), rates(0.9)
    assert marginal.mean() <= alpha + 3 * marginal.std() / math.sqrt(sets)
    assert (confident <= alpha + 1e-9).mean() >= 0.9 - 3 * math.sqrt(0.09 / sets)
    if not levels:  # without ties the bound is nearly reached, and luck decides about one threshold
        assert marginal.mean() == pytest.approx(alpha, abs=0.02)
        assert (marginal > alpha).mean() > 0.3
