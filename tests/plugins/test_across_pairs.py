"""Pearson's r against NumPy and Fisher's z by hand, and classes matched by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from transferkit_across import pearson
from transferkit_across.entries import read_entries
from transferkit_across.pairs import Pair, pairs, quantities, reliability, target_columns, values

from .made_up_analyses import CLASSES, bias, retention, run


def report_of(folder, plugin="retention"):
    return read_entries([folder, folder.parent / "other"])[0].reports[plugin]


def test_r_and_interval_by_hand():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = 0.6 * x + rng.normal(size=50)
    found = pearson(x, y)
    r = np.corrcoef(x, y)[0, 1]
    half = 1.959963984540054 / math.sqrt(47)
    assert found.r == pytest.approx(r, abs=1e-12) and found.n == 50 and found.why is None
    assert found.low == pytest.approx(math.tanh(math.atanh(r) - half), abs=1e-9)
    assert found.high == pytest.approx(math.tanh(math.atanh(r) + half), abs=1e-9)


def test_invariant_to_order_shift_scale_and_symmetric():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 30))
    order = rng.permutation(30)
    expected = pearson(x, y)
    for again in (pearson(x[order], y[order]), pearson(3 * x + 1, y / 2 - 7), pearson(y, x)):
        assert again[:3] == pytest.approx(expected[:3], abs=1e-12)
    assert pearson(x, -y).r == pytest.approx(-expected.r)


def test_perfect_agreement():
    found = pearson([0, 1, 2, 3], [0, 2, 4, 6])
    assert found.r == pytest.approx(1) and found.low == pytest.approx(1) and found.high == pytest.approx(1)


def test_pairs_with_nan_are_left_out():
    x, y = [1, 2, np.nan, 4, 5, 3], [2, 1, 7, 4, np.nan, 5]
    assert pearson(x, y) == pearson([1, 2, 4, 3], [2, 1, 4, 5])


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        ([1, 2, 3], [3, 2, 1], "3 classes in common, and r needs 4"),
        ([], [], "0 classes in common"),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], "same value in all 5 classes"),
        ([1, 2, 3, 4], [1, 1, 1, 1 + 1e-15], "nearly the same value in all 4"),
        ([np.nan, 2, 3, 4], [1, 2, 3, 5], "3 classes"),
    ],
)
def test_no_r_without_a_reason(x, y, why):
    found = pearson(x, y)
    assert all(math.isnan(value) for value in found[:3]) and why in found.why


def test_values_must_come_in_pairs():
    with pytest.raises(ValueError, match="in pairs"):
        pearson([1, 2], [1, 2, 3])


def test_classes_are_matched_by_name(tmp_path):
    recall = [0.1, 0.4, 0.6, 0.9, 0.2, 0.3]
    run(tmp_path / "one", retention(recall))
    order = [3, 0, 5, 1, 2]
    run(tmp_path / "other", retention([recall[i] for i in order], [CLASSES[i] for i in order], images=4), model="vgg16")
    entries = read_entries([tmp_path / "one", tmp_path / "other"])
    (quantity,) = quantities(entries)
    (pair,) = pairs(entries, quantity)
    assert pair.names == [name for i, name in enumerate(CLASSES) if i in order]
    assert pair.correlation.r == pytest.approx(1) and pair.correlation.n == 5
    assert pair.images == [4] * 5 and not pair.seeds


def test_classes_without_images_and_names_that_occur_twice_are_left_out(tmp_path):
    names = ["crane", "crane", "hen", "cock", "tench", "eel"]
    run(tmp_path / "one", retention([0.1, 0.2, 0.3, float("nan"), 0.5, 0.6], names))
    run(tmp_path / "other", retention([0.5] * 6), seed=1)
    assert list(values(report_of(tmp_path / "one"), "recall_head_swap")) == ["hen", "tench", "eel"]


def test_bias_towards_the_first_of_two_classes_and_each_of_more(tmp_path):
    shares = [0.1, 0.9, 0.5, 0.3, 0.7, 0.6]
    run(tmp_path / "one", bias=bias(shares))
    run(tmp_path / "other", bias=bias(shares), model="vgg16")
    entries = read_entries([tmp_path / "one", tmp_path / "other"])
    assert target_columns(entries[0].reports["bias"]) == ("ants", "bees")
    assert [(q.column, q.targets) for q in quantities(entries)] == [("ants", ("ants", "bees"))]
    three = ("ants", "bees", "wasps")
    run(tmp_path / "a", bias=bias(shares, targets=three))
    run(tmp_path / "b", bias=bias(shares, targets=three), model="vgg16")
    assert [q.column for q in quantities(read_entries([tmp_path / "a", tmp_path / "b"]))] == list(three)


def test_bias_needs_the_same_target_classes(tmp_path):
    shares = [0.1, 0.9, 0.5, 0.3, 0.7, 0.6]
    run(tmp_path / "one", bias=bias(shares))
    run(tmp_path / "other", bias=bias(shares, targets=("cats", "dogs")))
    assert quantities(read_entries([tmp_path / "one", tmp_path / "other"])) == []


def shares(rng, truth, sizes):
    return rng.binomial(sizes, truth) / sizes


def test_the_correction_finds_the_r_of_many_images():
    """Two models whose recalls correlate with 0.8 over classes of four to twenty images, drawn for each by itself."""
    rng, plain, mended = np.random.default_rng(0), [], []
    for _ in range(40):
        sizes = rng.choice([4, 10, 20], 600)
        common, one, other = rng.normal(size=(3, 600))
        truth = [1 / (1 + np.exp(-(math.sqrt(0.8) * common + math.sqrt(0.2) * own))) for own in (one, other)]
        seen = [shares(rng, side, sizes) for side in truth]
        found = pair_of(pearson(*seen), tuple(reliability(side, sizes) for side in seen))
        plain.append(found.correlation.r - np.corrcoef(*truth)[0, 1])
        mended.append(found.corrected.value - np.corrcoef(*truth)[0, 1])
        assert found.corrected.low < found.corrected.value <= found.corrected.high
    assert abs(np.mean(mended)) < 0.03 and np.mean(plain) < -0.15


def pair_of(correlation, known):
    nothing = np.zeros(0)
    return Pair(None, None, None, [], nothing, nothing, [], correlation, known)


def test_reliability_by_hand():
    hits, n = np.array([1, 2, 3, 0]), np.array([4, 2, 4, 1])
    p = hits / n
    outcomes = [[1, 0, 0, 0], [1, 1], [1, 1, 1, 0], [0]]
    within = sum(sum((x - np.mean(row)) ** 2 for x in row) for row in outcomes) / sum(len(row) - 1 for row in outcomes)
    assert reliability(p, n) == pytest.approx(1 - within * np.mean(1 / n) / np.var(p, ddof=1))
    assert reliability([0, 1, 0, 1], [50] * 4) == pytest.approx(1)
    rng = np.random.default_rng(0)
    noise = [reliability(shares(rng, np.full(500, 0.5), np.full(500, 4)), np.full(500, 4)) for _ in range(50)]
    assert abs(np.mean(noise)) < 0.03


@pytest.mark.parametrize(
    ("shares", "images"),
    [([0.5], [2]), ([0.3, 0.4], [2, 2]), ([0, 1, 0], [1, 1, 1]), ([1, 1], [2, 2]), ([0, 1], [0, 2])],
)
def test_no_reliability(shares, images):
    assert math.isnan(reliability(shares, images))


def test_where_noise_is_all_there_is_nothing_is_corrected():
    correlation = pearson([1, 2, 3, 5], [2, 1, 5, 4])
    for known in ((-0.1, 0.5), (0.0, 0.5), (math.nan, 0.5)):
        assert math.isnan(pair_of(correlation, known).corrected.value)
    assert pair_of(correlation, (0.3, 0.3)).corrected.high == 1


def test_p_is_that_of_fishers_z():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40))
    found = pearson(x, y)
    assert found.p == pytest.approx(2 * scipy.stats.norm.sf(abs(np.arctanh(found.r)) * math.sqrt(37)))
    assert pearson([1, 2, 3, 4], [1, 2, 3, 4]).p < 1e-6 and math.isnan(pearson([1], [1]).p)
