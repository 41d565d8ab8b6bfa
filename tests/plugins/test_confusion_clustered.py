"""Effective sizes and intervals of clustered trials: by hand, against SciPy, and in simulated samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from transferkit_confusion import clustered_wilson, effective_size
from transferkit_confusion.clustered import Resamples


def wilson_of(hits, n):
    found = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    return found.low, found.high


def test_independent_trials_give_plain_wilson():
    right = np.arange(50) % 3 == 0
    share = clustered_wilson(right, np.arange(50))
    assert share.effective == 50 and share.clusters == 50
    assert (share.low, share.high) == pytest.approx(wilson_of(int(right.sum()), 50), abs=1e-12)


def test_balanced_clusters_that_agree_with_the_mean_are_no_worse_than_independent():
    right = np.tile([True, False, True, False], 6)
    assert effective_size(right, np.repeat(np.arange(6), 4)) == 24


def test_equal_trials_within_each_overlay_count_once():
    per_overlay = np.arange(20) % 4 == 0
    share = clustered_wilson(np.repeat(per_overlay, 15), np.repeat(np.arange(20), 15))
    assert share.effective == pytest.approx(20)
    assert (share.low, share.high) == pytest.approx(wilson_of(5, 20), abs=1e-9)
    assert share.n == 300 and share.value == 0.25


def test_by_hand():
    # p = 5/8; sums of residuals +1.5 and -1.5: deff = 4.5 / (8 · 5/8 · 3/8) = 2.4
    right = [1, 1, 1, 1, 0, 0, 0, 1]
    assert effective_size(right, ["a"] * 4 + ["b"] * 4) == pytest.approx(8 / 2.4)
    # p = 1/2; sums +1 and -1: deff = 2 / 2
    assert effective_size([1, 1, 1, 0, 0, 0, 0, 1], [0] * 4 + [1] * 4) == pytest.approx(8)


def test_order_and_names_of_clusters_do_not_matter():
    rng = np.random.default_rng(0)
    right, cluster = rng.random(200) < 0.3, rng.integers(0, 9, 200)
    order = rng.permutation(200)
    expected = effective_size(right, cluster)
    assert effective_size(right[order], cluster[order] + 100) == pytest.approx(expected, rel=1e-12)
    assert effective_size(~right, cluster) == pytest.approx(expected, rel=1e-12)


def test_when_all_ended_alike_each_overlay_counts_once():
    share = clustered_wilson(np.ones(300), np.repeat(np.arange(20), 15))
    assert share.effective == 20
    assert (share.low, share.high) == pytest.approx(wilson_of(20, 20), abs=1e-12)


def test_nothing_and_wrong_shapes():
    share = clustered_wilson([], [])
    assert math.isnan(share.value) and math.isnan(share.low) and share.n == 0
    with pytest.raises(ValueError, match="each trial needs its cluster"):
        effective_size([1, 0], [1])


def test_coverage_where_overlays_differ():
    """Shares of overlays vary: the clustered interval keeps its promise, the plain one does not."""
    rng, overlays, places, truth = np.random.default_rng(1), 40, 15, 0.6
    covered = plain = 0
    for _ in range(400):
        easy = rng.beta(3 * truth, 3 * (1 - truth), overlays)
        right = rng.random((overlays, places)) < easy[:, None]
        share = clustered_wilson(right.ravel(), np.repeat(np.arange(overlays), places))
        covered += share.low <= truth <= share.high
        low, high = wilson_of(int(right.sum()), right.size)
        plain += low <= truth <= high
    assert covered >= 0.92 * 400
    assert plain < 0.8 * 400


def test_coverage_where_trials_are_independent():
    rng = np.random.default_rng(2)
    sizes = [effective_size(rng.random(300) < 0.4, np.repeat(np.arange(20), 15)) / 300 for _ in range(200)]
    assert np.mean(sizes) > 0.85


def test_resamples_draw_whole_overlays_within_their_class():
    resamples = Resamples([0, 0, 0, 1, 1], 50, np.random.default_rng(0))
    np.testing.assert_array_equal(resamples.weights[:, :3].sum(axis=1), 3)
    np.testing.assert_array_equal(resamples.weights[:, 3:].sum(axis=1), 2)
    overlay, right = np.array([0, 0, 1, 2, 3, 4]), np.array([1.0, 0, 1, 0, 1, 1])
    expected = []
    for weights in resamples.weights.astype(int):
        drawn = [k for k in range(6) for _ in range(weights[overlay[k]])]
        expected.append(right[drawn].mean())
    np.testing.assert_allclose(resamples.shares(right, overlay), expected, rtol=1e-12)


def test_the_interval_is_that_of_a_mean_over_overlays():
    rng = np.random.default_rng(3)
    values = (rng.random(60) < 0.5).astype(float)
    resamples = Resamples([0] * 60, 4000, rng)
    right, overlay = np.repeat(values, 10), np.repeat(np.arange(60), 10)
    low, high = resamples.interval(resamples.shares(right, overlay))
    half = 1.96 * values.std() / math.sqrt(60)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_one_overlay_of_a_class_has_no_interval():
    resamples = Resamples([0, 1, 1], 20, np.random.default_rng(0))
    assert all(math.isnan(end) for end in resamples.interval(np.ones(20)))
    assert all(math.isnan(end) for end in Resamples([], 20, np.random.default_rng(0)).interval(np.ones(20)))
