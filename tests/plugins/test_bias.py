"""The analyzer `bias` on made-up votes: by hand, against SciPy, simulation, and everything that can be missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.stats import binomtest
from transferkit_bias import significance
from transferkit_bias.analyzer import Bias
from transferkit_bias.comparison import compare, pearson, reliability
from transferkit_bias.report import target_columns
from transferkit_bias.votes import index_groups
from transferkit_lingering.analyzer import Lingering

from transferkit.hookspecs import Declared
from transferkit.statistics import intraclass_difference
from transferkit.testing import check_plugin, tiny_analysis

from .made_up_audit import column, made_up, sure_of, written

COUNTS = [[10, 0], [8, 2], [5, 5], [0, 10], [1, 0], [0, 0]]
"""High, high, neutral, high the other way, one image, none: 24 of 41 votes for the first target class."""


def session_of(folder, counts, *, common=(), baseline=None, **changes):
    """Every source class remembered; the source classes `common` show in the target images."""
    counts = np.asarray(counts)
    size, targets = counts.shape
    labels = np.repeat(np.arange(size), counts.sum(axis=1))
    votes = np.concatenate([np.repeat(np.arange(targets), row) for row in counts])
    swap = sure_of(labels, size)
    shown = sure_of(list(common) * 3, size) if len(common) else torch.full((3, size), 0.0)
    given = {"swap": swap, "source": swap, "target_images": shown, "votes": sure_of(votes, targets, 2.0)}
    if baseline is not None:
        answers = np.concatenate([np.repeat(np.arange(targets), row) for row in np.asarray(baseline)])
        given["baseline"] = sure_of(answers, targets)
    return made_up(folder, labels, peers={"lingering": Lingering(k=1)}, **(given | changes))


def test_groups_shares_and_metrics_by_hand(tmp_path):
    session = session_of(tmp_path, COUNTS, common=[0])
    report = written(Bias().analyze(session), session)
    table = report.tables["bias"]
    promised = ["class", "name", "images", "target 0", "target 1", "index", "p_value", "significant"]
    assert list(table.columns[:8]) == promised
    np.testing.assert_allclose(column(table, "target 0"), [1, 0.8, 0.5, 0, 1, math.nan])
    np.testing.assert_allclose(column(table, "index"), [1, 0.6, 0, 1, 1, math.nan], atol=1e-12)
    assert column(table, "images") == [10, 10, 10, 10, 1, 0]
    assert set(report.metrics) == set(Declared.of(Bias).metric_keys)
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
    assert "class 3 (100 % target 1, interval 62 % to 100 %, 10 images)" in report.verdict


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
    assert "whatever they show" in report.verdict and "do not certainly go with" in report.verdict
    assert any("preference" in note for note in report.notes)


def test_planted_memories_are_found_beyond_the_skew(tmp_path):
    rng = np.random.default_rng(1)
    shares = np.where(np.arange(100) < 20, 0.1, 0.8)
    counts = np.stack([rng.multinomial(20, [p, 1 - p]) for p in shares])
    report = Bias().analyze(session_of(tmp_path, counts, common=[99]))
    assert report.metrics["overdispersion"] > 3
    assert "Answers go with the source class" in report.verdict
    found = {row[0] for row in report.tables["bias"].rows if row[7]}
    assert len(found & set(range(20))) >= 18
    corrected = np.array(column(report.tables["bias"], "corrected_index"))
    assert corrected[:20].mean() > 3 * corrected[20:].mean()


def test_without_baseline_and_without_source_model(tmp_path):
    session = session_of(tmp_path, COUNTS, source=None)
    report = written(Bias().analyze(session), session)
    assert math.isnan(report.metrics["high_and_source_only"]) and math.isnan(report.metrics["lingering_high_bias"])
    assert math.isnan(report.metrics["overdispersion_baseline"])
    assert report.metrics["high"] == pytest.approx(4 / 5)
    assert "biased_source_only" not in report.tables
    assert column(report.tables["bias"], "state") == [None] * 6
    assert any("no baseline" in gap for gap in report.gaps)
    assert any("source-only was not measured" in gap for gap in report.gaps)


def test_a_baseline_names_its_classes_in_another_order(tmp_path):
    session = session_of(tmp_path, COUNTS, baseline=COUNTS, baseline_classes=["target 1", "target 0"])
    report = Bias().analyze(session)
    assert column(report.tables["votes"], "target 0") == pytest.approx([24 / 41, 17 / 41])


def test_a_baseline_of_more_classes_votes_among_those_of_the_target(tmp_path):
    labels, votes = [0] * 10 + [1] * 10, sure_of([0] * 8 + [1] * 12, 2)
    more = torch.cat([torch.full((20, 1), 99.0), votes.flip(1)], dim=1)  # it is surest of the class that M^t lacks
    names = ["wasp", "target 1", "target 0"]
    source = sure_of(labels, 2)
    session = made_up(tmp_path, labels, swap=source, source=source, votes=votes, baseline=more, baseline_classes=names)
    table = Bias().analyze(session).tables["votes"]
    assert column(table, "target 0") == pytest.approx([8 / 20, 8 / 20])


def test_a_baseline_of_other_classes_is_a_gap(tmp_path):
    session = session_of(tmp_path, COUNTS, baseline=COUNTS, baseline_classes=["cat", "dog"])
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
    assert found[2].value == pytest.approx((1 + 0.5 + high_of_ten) / 3)
    assert sum(one.value for one in found) == pytest.approx(1)
    assert (found[2].low, found[2].high) == (1 / 3, 1)  # one class is sure; all three are high with a chance of 5.5 %
    three = significance.expected_groups(np.array([2]), np.array([0.2, 0.3, 0.5]), rng)
    assert three[2].value == pytest.approx(0.04 + 0.09 + 0.25, abs=0.04)  # both images vote alike
    assert all(math.isnan(one.value) for one in significance.expected_groups(np.array([0]), np.array([0.5, 0.5]), rng))


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.8, 0.2], [0.2, 0.3, 0.5]])
def test_by_chance_so_many_classes_look_biased(shares):
    """The range of the share of highly biased classes, against votes drawn for all classes."""
    rng, images = np.random.default_rng(3), np.array([1] * 20 + [2] * 20 + [5] * 30 + [20] * 10)
    high = significance.expected_groups(images, np.array(shares), np.random.default_rng(0))[2]
    drawn = [
        (index_groups(torch.from_numpy(np.stack([rng.multinomial(n, shares) for n in images]))) == 2).double().mean()
        for _ in range(600)
    ]
    assert high.value == pytest.approx(np.mean(drawn), abs=0.02) and high.n == 80
    assert 0.92 < np.mean([high.low <= share <= high.high for share in drawn]) < 0.995


def answers(rng, sizes, alike, share=0.6):
    """(K, 2) votes, whose chance of the first answer differs between classes with that intraclass correlation."""
    p = rng.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), len(sizes)) if alike else share
    hits = rng.binomial(sizes, p)
    return np.stack([hits, sizes - hits], axis=1)


@pytest.mark.parametrize("sizes", [(1, 2, 3), (5, 20)])
@pytest.mark.parametrize("classes", [10, 60])
def test_a_model_that_ignores_the_class_is_called_biased_in_at_most_one_of_twenty(sizes, classes):
    """With a baseline of its own chance, of some likeness, and without one."""
    rng, called = np.random.default_rng(0), {"alone": [], "both": [], "alike": []}
    for _ in range(400):
        images = rng.choice(sizes, classes)
        enough = np.ones(classes, dtype=bool)
        ours, theirs = answers(rng, images, 0), answers(rng, images, 0, 0.8)
        called["alone"].append(compare(ours, None, enough, rng).alike.above(0))
        with_likeness = [answers(rng, images, 0.15) for _ in range(2)]
        called["both"].append(intraclass_difference(ours, theirs, images).above(0))
        called["alike"].append(intraclass_difference(*with_likeness, images).above(0))
    for name, found in called.items():
        assert np.mean(found) <= 0.05, name


def test_likeness_does_not_grow_with_the_images_and_overdispersion_does():
    rng, alike, over = np.random.default_rng(0), [], []
    for n in (3, 10, 40):
        votes = answers(rng, np.full(600, n), 0.3)
        alike.append(compare(votes, None, np.ones(600, dtype=bool), rng).alike)
        over.append(significance.overdispersion(votes))
    assert all(one.low < 0.3 < one.high and one.high - one.low < 0.15 for one in alike)
    assert over[0] < over[1] < over[2] and over[2] > 5 * over[0]


def test_planted_memories_beside_a_baseline_without_any(tmp_path):
    rng = np.random.default_rng(0)
    sizes = rng.choice([2, 5, 20], 80)
    votes, baseline = answers(rng, sizes, 0.3), answers(rng, sizes, 0.04, 0.5)
    session = session_of(tmp_path, votes, common=[79], baseline=baseline)
    report = written(Bias().analyze(session), session)
    metrics = report.metrics
    assert metrics["intraclass_difference_low"] > 0 and "more than the baseline's" in report.verdict
    assert metrics["intraclass_correlation_low"] < 0.3 < metrics["intraclass_correlation_high"]
    assert metrics["intraclass_correlation_baseline_low"] < 0.04 < metrics["intraclass_correlation_baseline_high"]
    assert metrics["high_certain"] > metrics["high_certain_baseline_high"]
    table = report.tables["bias"]
    assert list(table.columns[-2:]) == ["baseline_target 0", "baseline_target 1"]
    np.testing.assert_allclose(column(table, "baseline_target 0"), baseline[:, 0] / sizes)
    assert metrics["bias_r_baseline_low"] < 0 < metrics["bias_r_baseline_high"]
    used = sizes >= 5
    shares = [(one[:, 0] / sizes)[used] for one in (votes, baseline)]
    assert metrics["bias_r_baseline"] == pytest.approx(scipy.stats.pearsonr(*shares).statistic)
    again = Bias().analyze(session_of(tmp_path / "same", votes, common=[79], baseline=votes))
    assert "more than the baseline's is not certain" in again.verdict
    assert again.metrics["bias_r_baseline"] == pytest.approx(1)


def test_reliability_is_the_correlation_with_other_images():
    """Of votes drawn anew for the same classes; the ceiling of the correlation of two such models."""
    rng = np.random.default_rng(0)
    trials = np.full(3000, 8)
    p = rng.beta(1, 1, 3000)
    ours, anew = rng.binomial(8, p), rng.binomial(8, p)
    expected = np.corrcoef(ours / 8, anew / 8)[0, 1]
    found = reliability(ours, trials, rng)
    assert found == pytest.approx(expected, abs=0.03)
    assert reliability(rng.binomial(8, 0.5, 3000), trials, rng) < 0.1
    assert reliability(np.array([4]), np.array([8]), rng) == 0
    assert reliability(np.array([8, 8]), np.array([8, 8]), rng) == 0


@pytest.mark.parametrize("classes", [10, 30, 200])
@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_the_interval_of_a_correlation_over_classes(classes, rho):
    rng, held = np.random.default_rng(1), []

    def draw(count):
        z = rng.normal(size=(2, count))
        p = scipy.stats.norm.cdf([z[0], rho * z[0] + math.sqrt(1 - rho * rho) * z[1]])
        return rng.binomial(10, p) / 10

    truth = np.corrcoef(*draw(400_000))[0, 1]
    for _ in range(600):
        found = pearson(*draw(classes))
        held.append(found.low <= truth <= found.high)
    assert 0.92 <= np.mean(held) <= 0.985


def test_correlations_that_cannot_be_known():
    assert math.isnan(pearson(np.array([0.5]), np.array([0.5])).value)
    assert math.isnan(pearson(np.array([0.5, 0.5, 0.5]), np.array([0.1, 0.2, 0.3])).value)
    assert not pearson(np.array([0.5, 0.6]), np.array([0.1, 0.2])).known


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
