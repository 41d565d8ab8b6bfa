"""AUROC, AUPR, FPR95 and AURC against brute force and SciPy; splits by key; intervals against SciPy's bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from transferkit_interference.ranks import (
    accuracy_at_coverage,
    aupr,
    aurc,
    auroc,
    auroc_intervals,
    fpr_at_tpr,
    share_above,
)
from transferkit_interference.splits import calibration_share, some, source_halves


def scores(seed, levels=0, sizes=(37, 53)):
    rng = np.random.default_rng(seed)
    positive, negative = rng.normal(0.8, 1, sizes[0]), rng.normal(0, 1, sizes[1])
    return (np.round(positive * levels), np.round(negative * levels)) if levels else (positive, negative)


@pytest.mark.parametrize("levels", [0, 1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_share_of_pairs_and_mann_whitney(seed, levels):
    positive, negative = scores(seed, levels)
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(np.mean(pairs), abs=1e-12)
    u = scipy.stats.mannwhitneyu(positive, negative).statistic
    assert auroc(positive, negative) == pytest.approx(u / len(pairs), abs=1e-12)
    assert auroc(negative, positive) == pytest.approx(1 - np.mean(pairs), abs=1e-12)


@pytest.mark.parametrize("levels", [0, 1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_aupr_by_thresholds(seed, levels):
    positive, negative = scores(seed, levels)
    total, before = 0.0, 0.0
    for threshold in sorted(set(positive) | set(negative), reverse=True):
        hits, alarms = (positive >= threshold).sum(), (negative >= threshold).sum()
        recall = hits / len(positive)
        total += (recall - before) * hits / (hits + alarms)
        before = recall
    assert aupr(positive, negative) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize("tpr", [0.95, 0.5, 1.0])
def test_fpr_by_thresholds(levels, tpr):
    positive, negative = scores(1, levels)
    best = min((negative >= t).mean() for t in positive if (positive >= t).mean() >= tpr)
    assert fpr_at_tpr(positive, negative, tpr) == best


def test_fpr_by_hand():
    assert fpr_at_tpr([3, 2, 1, 0], [0.5, 2.5], 0.75) == 0.5
    assert fpr_at_tpr(np.arange(20), [0.0, 0.5, 1.0], 0.95) == pytest.approx(1 / 3)  # 19 of 20 are at or above 1


@pytest.mark.parametrize("levels", [0, 1])
def test_aurc_by_brute_force(levels):
    rng = np.random.default_rng(2)
    score = rng.normal(size=40) if not levels else rng.integers(0, 4, 40)
    wrong = rng.random(40) < 0.3
    found = []
    for _ in range(1 if not levels else 4000):  # ties: the mean over random orders
        order = np.lexsort((rng.random(40), score))
        found.append((wrong[order].cumsum() / np.arange(1, 41)).mean())
    assert aurc(score, wrong) == pytest.approx(np.mean(found), abs=1e-12 if not levels else 2e-3)


def test_harm_by_hand():
    assert aurc([1, 2, 3, 4], [False, False, True, True]) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert aurc([0, 0], [True, False]) == pytest.approx(0.5)
    assert accuracy_at_coverage([1, 2, 3, 4, 5], [0, 0, 1, 0, 1], 0.8) == 0.75
    assert accuracy_at_coverage([1, 2, 3, 4, 5], [0, 0, 1, 0, 1], 0.01) == 1.0  # at least one
    assert accuracy_at_coverage(range(20), [0] * 19 + [1], 0.95) == 1.0


def test_knowing_nothing_gives_the_share_of_errors():
    wrong = np.random.default_rng(0).random(50) < 0.4
    assert aurc(np.zeros(50), wrong) == pytest.approx(wrong.mean())


def test_empty_and_broken():
    assert all(math.isnan(f([], [1.0])) and math.isnan(f([1.0], [])) for f in (auroc, aupr, fpr_at_tpr))
    assert math.isnan(aurc([], [])) and math.isnan(accuracy_at_coverage([], [], 0.9)) and math.isnan(share_above([], 0))
    for f in (auroc, aupr, fpr_at_tpr, aurc):
        with pytest.raises(ValueError, match="NaN"):
            f([math.nan], [1.0])
    with pytest.raises(ValueError, match="one row"):
        auroc([[1.0]], [1.0])
    with pytest.raises(ValueError, match="outcome"):
        aurc([1.0, 2.0], [True])
    assert share_above([1, 2, 3], 2) == pytest.approx(1 / 3)


def test_intervals_match_scipy():
    positive, negative = scores(3, sizes=(80, 60))
    (found,) = auroc_intervals([(positive, negative)], 4000, np.random.default_rng(0))
    expected = scipy.stats.bootstrap(
        (positive, negative), lambda p, n: auroc(p, n), n_resamples=4000, method="percentile", vectorized=False,
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found.value == auroc(positive, negative)
    assert found.low == pytest.approx(expected.low, abs=0.01)
    assert found.high == pytest.approx(expected.high, abs=0.01)


def test_scores_share_resamples_and_small_groups_have_no_interval():
    pair = scores(4)
    one, same = auroc_intervals([pair, pair], 100, np.random.default_rng(0))
    assert one == same
    for pairs, resamples in (([([1.0], [0.0, 0.5])], 100), ([pair], 0)):
        (alone,) = auroc_intervals(pairs, resamples, np.random.default_rng(0))
        assert alone.value == auroc(*pairs[0]) and math.isnan(alone.low)
    assert auroc_intervals([], 10, np.random.default_rng(0)) == []


def test_source_halves_are_by_class_and_by_key():
    labels = np.repeat([0, 1, 2, 3], [1, 2, 5, 8])
    ids = [f"image {i}" for i in range(16)]
    fit, hold = source_halves(labels, ids, 0)
    assert (fit ^ hold).all()
    assert np.bincount(labels[fit]).tolist() == [1, 1, 3, 4]  # the one that is alone fits
    order = np.random.default_rng(0).permutation(16)
    again, _ = source_halves(labels[order], [ids[i] for i in order], 0)
    assert (again == fit[order]).all()
    assert (source_halves(labels, ids, 1)[0] != fit).any()


def test_calibration_is_a_keyed_share():
    ids = [f"{i}.jpg" for i in range(31)]
    chosen, rest = calibration_share(ids, 0.5, 0)
    assert chosen.sum() == 16 and (chosen ^ rest).all()
    more, _ = calibration_share(ids, 0.8, 0)
    assert more[chosen].all()  # a larger share only adds
    assert some(ids, chosen, 5, 0).tolist() == sorted(some(ids, chosen, 5, 0).tolist())
    assert set(some(ids, chosen, 5, 0)) <= set(np.flatnonzero(chosen)) and len(some(ids, chosen, 5, 0)) == 5
    assert some(ids, chosen, 99, 0).tolist() == np.flatnonzero(chosen).tolist()
