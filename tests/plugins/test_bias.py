"""The analyzer `bias` on made-up votes: by hand, against SciPy, simulation, and everything that can be missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from transferkit_bias import significance
from transferkit_bias.analyzer import Bias
from transferkit_bias.tables import target_columns
from transferkit_lingering.analyzer import Lingering

from transferkit.testing import check_plugin, tiny_analysis

from .made_up_audit import MadeUp, column, sure_of, written

COUNTS = [[10, 0], [8, 2], [5, 5], [0, 10], [1, 0], [0, 0]]
"""High, high, neutral, high the other way, one image, none: 24 of 41 votes for the first target class."""


def session_of(folder, counts, *, common=(), baseline=None, probability=0.9):
    """Every source class remembered; the source classes `common` show in the target images."""
    counts = np.asarray(counts)
    size, targets = counts.shape
    labels = np.repeat(np.arange(size), counts.sum(axis=1))
    votes = np.concatenate([np.repeat(np.arange(targets), row) for row in counts])
    swap = sure_of(labels, size)
    shown = sure_of(list(common) * 3, size) if len(common) else torch.full((3, size), 0.0)
    session = MadeUp(folder, labels, swap=swap, source=swap, target_images=shown, votes=sure_of(votes, targets, 2.0))
    if baseline is not None:
        session.baseline = sure_of(
            np.concatenate([np.repeat(np.arange(targets), row) for row in np.asarray(baseline)]), targets
        )
    session.peers = {"lingering": Lingering(k=1)}
    return session


def test_groups_shares_and_metrics_by_hand(tmp_path):
    session = session_of(tmp_path, COUNTS, common=[0])
    report = written(Bias().analyze(session), session)
    table = report.tables["bias"]
    promised = ["class", "name", "images", "target 0", "target 1", "index", "p_value", "significant"]
    assert list(table.columns[:8]) == promised
    np.testing.assert_allclose(column(table, "target 0"), [1, 0.8, 0.5, 0, 1, math.nan])
    np.testing.assert_allclose(column(table, "index"), [1, 0.6, 0, 1, 1, math.nan], atol=1e-12)
    assert column(table, "images") == [10, 10, 10, 10, 1, 0]
    assert set(report.metrics) == set(Bias.metrics)
    metrics = report.metrics
    assert (metrics["high"], metrics["slight"], metrics["neutral"]) == pytest.approx((4 / 5, 0, 1 / 5))
    assert metrics["high_certain"] == pytest.approx(3 / 4)
    assert metrics["high_and_source_only_classes"] == 3  # classes 1, 3 and 4; 0 is common in the target
    assert metrics["high_and_source_only"] == pytest.approx(3 / 5)
    assert metrics["lingering_high_bias"] == 3
    assert metrics["lingering_high_bias_certain"] == 2
    assert metrics["prior_index"] == pytest.approx(2 * 24 / 41 - 1)


def test_p_values_by_hand_and_false_discovery_among_tested_classes(tmp_path):
    report = Bias(fdr=0.1).analyze(session_of(tmp_path, COUNTS, common=[0]))
    table = report.tables["bias"]
    expected = [binomtest(row[0], sum(row), 24 / 41).pvalue if sum(row) else math.nan for row in COUNTS]
    np.testing.assert_allclose(column(table, "p_value"), expected, rtol=1e-9)
    even = [binomtest(row[0], sum(row), 0.5).pvalue if sum(row) else math.nan for row in COUNTS]
    np.testing.assert_allclose(column(table, "p_uniform"), even, rtol=1e-9)
    tested = np.array(expected[:4])  # Benjamini-Hochberg: p(i) <= i/4 * fdr for the largest such i
    ordered = np.sort(tested)
    passed = np.flatnonzero(ordered <= np.arange(1, 5) / 4 * 0.1)
    limit = ordered[passed.max()] if len(passed) else -1
    assert column(table, "significant") == [*(tested <= limit).tolist(), None, None]
    assert column(table, "significant")[3] is True
    assert all(math.isnan(p) for p in column(table, "p_adjusted")[4:])


def test_the_list_is_of_source_only_classes_the_clearest_first(tmp_path):
    report = Bias().analyze(session_of(tmp_path, COUNTS, common=[0], baseline=[[5, 5]] * 4 + [[0, 1], [0, 0]]))
    table = report.tables["biased_source_only"]
    assert column(table, "class") == [3, 1, 4]
    assert column(table, "towards") == ["target 1", "target 0", "target 0"]
    assert column(table, "share") == pytest.approx([1, 0.8, 1])
    assert column(table, "baseline_share") == pytest.approx([0.5, 0.5, 0])
    assert column(table, "state") == ["lingering", "lingering", "uncertain"]
    np.testing.assert_allclose(column(table, "confidence"), 1 / (1 + math.exp(-2)), rtol=1e-6)
    assert "class 3 (100 % target 1, 10 images)" in report.verdict


def test_five_groups_of_the_paper(tmp_path):
    report = Bias().analyze(session_of(tmp_path, COUNTS, baseline=[[2, 8], [4, 6], [6, 4], [8, 2], [1, 0], [0, 0]]))
    table = report.tables["paper_groups"]
    assert column(table, "target") == [1, 0, 1, 0, 3]
    assert column(table, "baseline") == [0, 1, 1, 1, 2]
    assert column(table, "group")[0] == "high target 1 bias" and column(table, "group")[4] == "high target 0 bias"
    assert sum(column(table, "target_by_chance")) == pytest.approx(5)
    groups = report.tables["groups"]
    assert [row[:4] for row in groups.rows] == [["target", 4, 0, 1], ["baseline", 3, 2, 0]]


def test_three_target_classes(tmp_path):
    counts = [[9, 0, 0], [3, 3, 3], [5, 2, 2], [0, 8, 1]]
    session = session_of(tmp_path, counts, common=[1])
    report = written(Bias().analyze(session), session)
    assert "paper_groups" not in report.tables
    np.testing.assert_allclose(column(report.tables["bias"], "index"), [1, 0, 1 / 3, 5 / 6], atol=1e-12)
    shares = np.array(counts).sum(axis=0) / 36
    expected = [min(1, 3 * min(binomtest(row[j], 9, shares[j]).pvalue for j in range(3))) for row in counts]
    np.testing.assert_allclose(column(report.tables["bias"], "p_value"), expected, rtol=1e-9)


def test_a_skewed_model_without_memories_is_called_skewed(tmp_path):
    counts = np.random.default_rng(0).multinomial(20, [0.9, 0.1], size=300)
    report = Bias().analyze(session_of(tmp_path, counts))
    assert report.metrics["high"] > 0.9
    assert report.metrics["high"] == pytest.approx(report.metrics["high_expected"], abs=0.05)
    assert report.metrics["overdispersion"] == pytest.approx(1, abs=0.25)
    assert report.metrics["significant"] <= 0.02
    assert "whatever they show" in report.verdict and "no more than chance" in report.verdict
    assert any("preference" in note for note in report.notes)


def test_planted_memories_are_found_beyond_the_skew(tmp_path):
    rng = np.random.default_rng(1)
    shares = np.where(np.arange(100) < 20, 0.1, 0.8)
    counts = np.stack([rng.multinomial(20, [p, 1 - p]) for p in shares])
    report = Bias().analyze(session_of(tmp_path, counts, common=[99]))
    assert report.metrics["overdispersion"] > 3
    assert "more than chance" in report.verdict
    found = {row[0] for row in report.tables["bias"].rows if row[7]}
    assert len(found & set(range(20))) >= 18
    corrected = np.array(column(report.tables["bias"], "corrected_index"))
    assert corrected[:20].mean() > 3 * corrected[20:].mean()


def test_without_baseline_and_without_source_model(tmp_path):
    session = session_of(tmp_path, COUNTS)
    session.source = None
    report = written(Bias().analyze(session), session)
    assert math.isnan(report.metrics["high_and_source_only"]) and math.isnan(report.metrics["lingering_high_bias"])
    assert math.isnan(report.metrics["overdispersion_baseline"])
    assert report.metrics["high"] == pytest.approx(4 / 5)
    assert "biased_source_only" not in report.tables
    assert column(report.tables["bias"], "state") == [None] * 6
    assert any("no baseline" in gap for gap in report.gaps)
    assert any("source-only was not measured" in gap for gap in report.gaps)


def test_a_baseline_names_its_classes_in_another_order(tmp_path):
    session = session_of(tmp_path, COUNTS, baseline=COUNTS)
    session.baseline_classes = ["target 1", "target 0"]
    report = Bias().analyze(session)
    assert column(report.tables["votes"], "target 0") == pytest.approx([24 / 41, 17 / 41])


def test_a_baseline_of_other_classes_is_a_gap(tmp_path):
    session = session_of(tmp_path, COUNTS, baseline=COUNTS)
    session.baseline_classes = ["cat", "dog"]
    report = Bias().analyze(session)
    assert math.isnan(report.metrics["high_baseline"])
    assert any("The baseline was not measured" in gap for gap in report.gaps)


def test_one_image_per_class(tmp_path):
    session = session_of(tmp_path, [[1, 0], [0, 1], [1, 0]], common=[2])
    report = written(Bias().analyze(session), session)
    assert report.metrics["high"] == 1 and report.metrics["high_expected"] == pytest.approx(1)
    assert math.isnan(report.metrics["overdispersion"]) and math.isnan(report.metrics["significant"])
    assert column(report.tables["bias"], "significant") == [None] * 3
    assert any("No source class has 5 images" in gap for gap in report.gaps)
    assert "Too few classes" in report.verdict


def test_a_single_target_class(tmp_path):
    session = session_of(tmp_path, [[5], [6]], common=[1])
    report = written(Bias().analyze(session), session)
    for name in ("high", "slight", "neutral", "overdispersion", "high_expected", "significant", "prior_index"):
        assert math.isnan(report.metrics[name]), name
    assert any("single class" in gap for gap in report.gaps)


def test_columns_of_target_classes_never_collide():
    assert target_columns(["ants", "index", "ants", "index (target)"], {"index", "name"}) == [
        "ants", "index (target)", "ants (target)", "index (target) (target)",
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0.5, 0.1, 0.718, 0.999])
def test_binomial_p_values_match_scipy(share):
    pairs = [(c, n) for n in (1, 2, 5, 10, 50) for c in range(n + 1)]
    successes, trials = (np.array(column) for column in zip(*pairs, strict=True))
    expected = [binomtest(int(c), int(n), share).pvalue for c, n in pairs]
    np.testing.assert_allclose(significance.binomial_p(successes, trials, share), expected, rtol=1e-9)
    assert np.isnan(significance.binomial_p(np.array([0]), np.array([0]), share)[0])


def test_only_one_target_class_is_ever_chosen():
    votes = np.array([[5, 0], [3, 0]])
    assert significance.p_values(votes, np.array([1.0, 0.0])).tolist() == [1, 1]
    assert significance.corrected_index(votes, np.array([1.0, 0.0])).tolist() == [0, 0]
    assert math.isnan(significance.overdispersion(votes))


def test_corrected_index_by_hand():
    votes, shares = np.array([[9, 1], [0, 10], [10, 0], [5, 5], [0, 0]]), np.array([0.9, 0.1])
    np.testing.assert_allclose(
        significance.corrected_index(votes, shares), [0, 1, 0.1 / 0.9, 0.4 / 0.9, math.nan], atol=1e-12
    )
    three = significance.corrected_index(np.array([[2, 2, 4]]), np.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(three, 0.25 / 0.75)  # ½ (¼ + 0 + ¼) over 1 − ¼


def test_overdispersion_is_the_variance_over_binomial():
    votes = np.array([[7, 3], [2, 8], [6, 4], [9, 1], [1, 0]])  # the last has one image and is left out
    counts, q = votes[:4, 0], votes[:4, 0].sum() / 40
    assert significance.overdispersion(votes) == pytest.approx(counts.var(ddof=1) / (10 * q * (1 - q)))


def test_overdispersion_by_chance_is_around_one():
    votes = np.random.default_rng(2).multinomial(12, [0.5, 0.3, 0.2], size=80)
    low, high = significance.overdispersion_by_chance(votes, 200, np.random.default_rng(0))
    assert 0.6 < low < 1 < high < 1.4
    assert low < significance.overdispersion(votes) < high
    alternating = np.array([[10, 0], [0, 10]] * 5)
    assert (
        significance.overdispersion(alternating)
        > significance.overdispersion_by_chance(alternating, 200, np.random.default_rng(0))[1]
    )


def test_expected_groups_are_exact_for_two_and_close_for_three():
    images, rng = np.array([1, 2, 10, 0]), np.random.default_rng(0)
    found = significance.expected_groups(images, np.array([0.5, 0.5]), rng)
    high_of_ten = 2 * sum(math.comb(10, c) for c in (0, 1, 2)) / 2**10
    assert found[2] == pytest.approx((1 + 0.5 + high_of_ten) / 3)
    assert found.sum() == pytest.approx(1)
    three = significance.expected_groups(np.array([2]), np.array([0.2, 0.3, 0.5]), rng)
    assert three[2] == pytest.approx(0.04 + 0.09 + 0.25, abs=0.04)  # both images vote alike
    assert np.isnan(significance.expected_groups(np.array([0]), np.array([0.5, 0.5]), rng)).all()


def test_expected_histogram_by_hand():
    np.testing.assert_allclose(
        significance.expected_histogram(np.array([2, 0]), 0.25), [0.5625, 0, 0.375, 0, 0.0625], atol=1e-12
    )


def test_on_the_tiny_models_of_a_real_session(tmp_path):
    session = tiny_analysis(tmp_path)
    report = written(Bias().analyze(session), session)
    assert len(report.tables["bias"].rows) == 12
    assert not math.isnan(report.metrics["overdispersion_baseline"]) or report.tables["groups"].rows[1]


def test_keeps_the_promises_of_a_plugin():
    check_plugin(Bias, permutations=20)
