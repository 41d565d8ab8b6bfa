"""Intervals against SciPy, hand computation and brute force; coverage and false alarms against simulations."""

from __future__ import annotations

import itertools
import math
import statistics
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from transferkit.statistics import (
    Bootstrap,
    Estimate,
    difference,
    difference_over_seeds,
    effective_size,
    false_discovery,
    intraclass_correlation,
    jackknife,
    mean_over_seeds,
    means_by_group,
    measured_share,
    middle,
    paired_difference,
    ratio,
    resample,
    sample_mean,
    sample_sd,
    share,
    share_of,
    sums_by,
)

NAN = math.nan


def ends(one):
    return one.low, one.high


def wilson(hits, total, confidence=0.95):
    found = scipy.stats.binomtest(hits, total).proportion_ci(confidence, method="wilson")
    return found.low, found.high


# --- one form --------------------------------------------------------------------------------------------------


def test_an_interval_excludes_what_lies_outside_it():
    one = Estimate(0.5, 0.4, 0.6, 10)
    assert one.known and not Estimate(0.5).known and not Estimate(0.5, 0.4).known
    assert one.above(0.39) and not one.above(0.4) and not one.above(0.5)
    assert one.below(0.61) and not one.below(0.6)
    assert one.above(Estimate(0.2, 0.1, 0.39)) and not one.above(Estimate(0.2, 0.1, 0.41))
    assert one.below(Estimate(0.8, 0.61, 0.9)) and not one.below(Estimate(0.8, 0.59, 0.9))
    for unknown in (Estimate(0.1), Estimate(0.9)):
        assert not any((unknown.above(0.5), unknown.below(0.5), one.above(unknown), one.below(unknown)))


def test_the_part_of_an_interval_that_can_be():
    assert ends(Estimate(0.1, -0.2, 1.3, 5).within(0, 1)) == (0, 1) and ends(Estimate(1, -3, 3).within(0)) == (0, 3)
    assert Estimate(0.1, n=5).within(0, 1).n == 5 and not Estimate(0.1).within(0, 1).known


def test_what_is_left_is_at_most_all_of_it():
    assert Estimate(0.9, 0.7, 1.1, 4).part() == Estimate(0.9, 0.7, 1.0, 4)
    assert Estimate(1.2, 1.1, 1.3, 4).part() == Estimate(1.0, 1.0, 1.0, 4)
    assert Estimate(0.0, -0.2, 0.2, 4).part() == Estimate(0.0, 0.0, 0.2, 4)
    unknown = Estimate(math.nan).part()
    assert math.isnan(unknown.value) and not unknown.known and not Estimate(0.4).part().known


def test_an_interval_in_a_sentence():
    one = Estimate(0.15, 0.1, 0.2)
    assert one.between("{:.2f}".format) == " (95 % interval 0.10 to 0.20)"
    assert one.between("{:+.0%}".format, words="") == " (+10% to +20%)"
    assert one.between("{:.2f}".format, brackets=True) == " [0.10, 0.20]"
    assert Estimate(0.1).between("{:.2f}".format) == ""
    assert one.told("{:.2f}".format) == "0.15 (0.10 to 0.20)"
    assert one.told("{:.1f}".format, " s", "from ") == "0.1 s (from 0.1 to 0.2)"
    assert Estimate(0.25).told("{:.2f}".format, " s", brackets=True) == "0.25 s"


def test_a_number_with_its_interval_costs_neither_numpy_nor_scipy():
    code = "import sys, transferkit.statistics as s; s.share_of(3, 10); print(*{'numpy', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- shares ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (10, 10), (3, 7), (1, 1), (870, 1000)])
def test_shares_have_wilsons_interval(hits, total):
    flags = np.arange(total) < hits
    for one in (share(flags), share_of(hits, total), measured_share(hits / total, total)):
        assert one.value == hits / total and one.n == total
        assert ends(one) == pytest.approx(wilson(hits, total), abs=1e-12)
    assert ends(share(flags, confidence=0.8)) == pytest.approx(wilson(hits, total, 0.8), abs=1e-12)


def test_without_trials_there_is_no_share():
    for one in (share([]), share([], []), share_of(0, 0), measured_share(NAN, 0)):
        assert math.isnan(one.value) and not one.known and one.n == 0
    with pytest.raises(ValueError, match="each trial needs its cluster"):
        share([1, 0], [1])
    with pytest.raises(ValueError, match="one row"):
        share([[1, 0]])


def test_trials_that_are_their_own_clusters_are_independent():
    flags = np.arange(50) % 3 == 0
    assert effective_size(flags, np.arange(50)) == pytest.approx(50)
    p, t = flags.mean(), scipy.stats.t.ppf(0.975, 49)
    found = ends(share(flags, np.arange(50)))
    for end in found:  # where (end − p)² = t²·end·(1 − end) / (n − 1): Wilson's score, with Student's t
        assert (end - p) ** 2 == pytest.approx(t**2 * end * (1 - end) / 49, rel=1e-9)


def test_trials_that_follow_their_cluster_count_once():
    per_cluster = np.arange(20) < 5
    one = share(np.repeat(per_cluster, 15), np.repeat(np.arange(20), 15))
    assert one.value == 0.25 and one.n == 20
    assert ends(one) == pytest.approx(ends(share(per_cluster, np.arange(20))), abs=1e-9)
    assert effective_size(np.repeat(per_cluster, 15), np.repeat(np.arange(20), 15)) == pytest.approx(20)
    alike = share(np.ones(300), np.repeat(np.arange(20), 15))
    assert alike.high == 1 and 0.8 < alike.low < wilson(20, 20)[0]
    assert not share([1, 0, 1], ["a", "a", "a"]).known


def test_the_design_effect_by_hand():
    """y = 1 1 0 | 1 0 0, p = 1/2: clusters' sums of y − p are ½ and −½; n·p·(1 − p) = 1.5, so deff = ⅓, at least 1."""
    assert effective_size([1, 1, 0, 1, 0, 0], [0, 0, 0, 1, 1, 1]) == 6
    # 1 1 1 0 | 0 0 1 0: p = ½, sums 1 and −1, deff = 2 / 2 = 1; and 1 1 1 1 | 0 0 0 1: p = 5/8, sums 1.5, −1.5
    assert effective_size([1, 1, 1, 0, 0, 0, 1, 0], [4, 4, 4, 4, 7, 7, 7, 7]) == pytest.approx(8)
    assert effective_size([1, 1, 1, 1, 0, 0, 0, 1], list("aaaabbbb")) == pytest.approx(8 / (4.5 / (8 * 15 / 64)))


def test_coverage_of_shares_whose_clusters_differ():
    rng, clusters, trials, truth, times = np.random.default_rng(1), 40, 15, 0.6, 1000
    covered = plain = 0
    for _ in range(times):
        easy = rng.beta(3 * truth, 3 * (1 - truth), clusters)
        flags = (rng.random((clusters, trials)) < easy[:, None]).ravel()
        one, naive = share(flags, np.repeat(np.arange(clusters), trials)), share(flags)
        covered += one.low <= truth <= one.high
        plain += naive.low <= truth <= naive.high
    assert covered >= 0.925 * times
    assert plain < 0.8 * times


def test_intraclass_correlation_by_hand():
    """Two classes of two: 1 1 | 0 0 is 1; 1 0 | 1 0 has MSB 0 and MSW ½, n0 = 2: (0 − ½) / (0 + ½) = −1."""
    assert intraclass_correlation([2, 0], [2, 2]) == pytest.approx(1)
    assert intraclass_correlation([1, 1], [2, 2]) == pytest.approx(-1)
    # 1 1 1 | 1 0: means 1, ½, overall 4/5; MSB = 3·0.04 + 2·0.09 = 0.3, MSW = 0.5/3, n0 = 5 − 13/5 = 2.4
    assert intraclass_correlation([3, 1], [3, 2]) == pytest.approx((0.3 - 0.5 / 3) / (0.3 + 1.4 * 0.5 / 3))


def test_intraclass_correlation_by_analysis_of_variance():
    rng = np.random.default_rng(0)
    classes = [(rng.random(size) < rng.random()).astype(float) for size in rng.integers(1, 30, 25)]
    sizes = np.array([len(one) for one in classes])
    every = np.concatenate(classes)
    between = sum(len(one) * (one.mean() - every.mean()) ** 2 for one in classes) / (len(classes) - 1)
    within = sum(((one - one.mean()) ** 2).sum() for one in classes) / (len(every) - len(classes))
    assert between / within == pytest.approx(scipy.stats.f_oneway(*classes).statistic)
    n0 = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(sizes) - 1)
    expected = (between - within) / (between + (n0 - 1) * within)
    found = intraclass_correlation([one.sum() for one in classes], sizes)
    assert found == pytest.approx(expected)
    assert intraclass_correlation([*(one.sum() for one in classes), 0], [*sizes, 0]) == found


def test_the_intraclass_correlation_of_two_answers_is_that_of_one():
    hits, totals = np.array([3, 0, 5, 2]), np.array([4, 3, 5, 4])
    both = np.stack([hits, totals - hits], axis=1)
    assert intraclass_correlation(both, totals) == pytest.approx(intraclass_correlation(hits, totals))
    empty = np.concatenate([both, np.zeros((4, 1), int)], axis=1)  # a third answer that nobody gave
    assert intraclass_correlation(empty, totals) == pytest.approx(intraclass_correlation(hits, totals))
    assert intraclass_correlation(hits * 5, totals * 5) < 1  # more images of each class do not make it grow on and on


def test_leaving_out_one_by_one():
    """Of a mean the jackknife is the usual standard error; of a ratio, what the sums without each cluster give."""
    values = np.random.default_rng(0).normal(3, 2, 12)
    mean = jackknife(lambda s: s[0] / s[1], np.stack([values, np.ones(12)]))
    assert ends(mean) == pytest.approx(ends(sample_mean(values))) and mean.n == 12
    above, below = np.array([3.0, 1, 4, 1]), np.array([4.0, 2, 5, 9])
    found = ratio([1, 2, 1, 4, 1], [2, 2, 2, 5, 9], ["a", "a", "b", "c", "d"])
    without = [(9 - a) / (20 - b) for a, b in zip(above, below, strict=True)]
    error = math.sqrt(3 / 4 * sum((one - 9 / 20) ** 2 for one in without))
    half = error * scipy.stats.t.ppf(0.975, 20**2 / (below**2).sum() - 1)
    assert found.value == 9 / 20 and ends(found) == pytest.approx((9 / 20 - half, 9 / 20 + half))
    assert not ratio([1], [2], ["a"]).known
    assert not ratio([1, 0], [2, 0], ["a", "b"]).known  # without the first there is nothing
    assert sums_by(["b", "a", "b"], [1, 2, 3]).tolist() == [[2, 4]]


@pytest.mark.parametrize(("hits", "totals"), [([], []), ([3], [5]), ([1, 0, 1], [1, 1, 1]), ([2, 2], [2, 2])])
def test_intraclass_correlation_that_cannot_be_known(hits, totals):
    assert math.isnan(intraclass_correlation(hits, totals))


def test_intraclass_correlation_of_wrong_shapes():
    with pytest.raises(ValueError, match="each class needs its trials"):
        intraclass_correlation([1, 2], [3])


# --- means -----------------------------------------------------------------------------------------------------


def test_the_sample_standard_deviation():
    assert sample_sd([1.0, 2.0, 4.0]) == pytest.approx(math.sqrt(7 / 3))
    assert sample_sd(iter([0.1] * 3)) == 0
    assert math.isnan(sample_sd([1.0])) and math.isnan(sample_sd([]))


def test_a_mean_of_many_has_students_interval():
    values = np.random.default_rng(0).normal(3, 2, 200)
    one = sample_mean(values)
    expected = scipy.stats.t.interval(0.95, 199, values.mean(), scipy.stats.sem(values))
    assert one.value == pytest.approx(values.mean()) and one.n == 200
    assert ends(one) == pytest.approx(expected)
    assert sample_mean([2.0]).value == 2 and not sample_mean([2.0]).known
    assert math.isnan(sample_mean([]).value)


def test_a_mean_over_seeds_has_students_interval():
    values = [0.4, None, 0.6, NAN, 0.55, math.inf]
    one = mean_over_seeds(values, confidence=0.9)
    expected = scipy.stats.ttest_1samp([0.4, 0.6, 0.55], 0).confidence_interval(0.9)
    assert one.n == 3 and one.value == statistics.mean([0.4, 0.6, 0.55])
    assert ends(one) == pytest.approx((expected.low, expected.high))
    two = mean_over_seeds([0.4, 0.6])  # t(0.975, 1) = 12.7062, standard error 0.1
    assert ends(two) == pytest.approx((0.5 - 1.27062, 0.5 + 1.27062), abs=1e-5)


def test_a_mean_of_one_or_no_seed():
    one, none = mean_over_seeds([0.4, None]), mean_over_seeds([NAN])
    assert (one.value, one.n, one.known) == (0.4, 1, False)
    assert math.isnan(none.value) and none.n == 0
    assert mean_over_seeds([0.1] * 3) == Estimate(0.1, 0.1, 0.1, 3)


def test_a_difference_over_seeds_is_welchs():
    a, b = [0.61, 0.64, 0.58, 0.70], [0.5, 0.9]
    one = difference_over_seeds(a, b)
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert one.value == pytest.approx(np.mean(a) - np.mean(b)) and one.n == 6
    assert ends(one) == pytest.approx((expected.low, expected.high))
    back = difference_over_seeds(b, a)
    assert ends(back) == pytest.approx((-expected.high, -expected.low))


def test_a_difference_on_pairs_is_students():
    a, b = [0.61, 0.64, 0.58, None, 0.7], [0.5, 0.6, 0.53, 0.1, NAN]
    one = difference_over_seeds(a, b, paired=True, confidence=0.99)
    expected = scipy.stats.ttest_rel(a[:3], b[:3]).confidence_interval(0.99)
    assert one.value == pytest.approx((0.11 + 0.04 + 0.05) / 3) and one.n == 3
    assert ends(one) == pytest.approx((expected.low, expected.high))
    with pytest.raises(ValueError, match="no pairs"):
        difference_over_seeds([1.0], [1.0, 2.0], paired=True)


def test_differences_without_variance_or_without_seeds():
    assert ends(difference_over_seeds([0.5, 0.5], [0.25, 0.25])) == (0.25, 0.25)
    assert ends(difference_over_seeds([0.5, 0.75], [0.25, 0.5], paired=True)) == (0.25, 0.25)
    # one side alone varies: its own Student interval, se = 0.1, t(0.975, 1)
    one = difference_over_seeds([0.4, 0.6], [0.3, 0.3])
    assert ends(one) == pytest.approx((0.2 - 1.27062, 0.2 + 1.27062), abs=1e-5)
    single = difference_over_seeds([0.5], [0.25, 0.3])
    assert single.value == pytest.approx(0.225) and not single.known and single.n == 3
    assert math.isnan(difference_over_seeds([], [0.2]).value)
    assert math.isnan(difference_over_seeds([], [], paired=True).value)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_false_alarms_over_seeds_where_nothing_changed(seeds):
    """Of intervals of 95 % at most 5 % exclude 0: exactly 5 on pairs, fewer with Welch's at few seeds."""
    rng, times = np.random.default_rng(seeds), 4000
    a, b = rng.normal(size=(2, times, seeds))
    for paired, least in ((False, 0.015), (True, 0.038)):
        found = [difference_over_seeds(x, y, paired) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
        alarms = sum(one.above(0) or one.below(0) for one in found) / times
        assert least < alarms < 0.062  # 0.05 + 3.5 · sqrt(0.05 · 0.95 / 4000)


def test_false_discoveries_by_the_procedure_itself():
    p = np.random.default_rng(0).random(40) ** 4
    ordered = np.sort(p)
    passed = [i for i in range(40) if ordered[i] <= 0.1 * (i + 1) / 40]
    cut = ordered[max(passed)]
    np.testing.assert_array_equal(false_discovery(p, 0.1), p <= cut)
    with_gaps = np.insert(p, [0, 7, 40], NAN)
    np.testing.assert_array_equal(false_discovery(with_gaps, 0.1), with_gaps <= cut)
    assert not false_discovery([NAN, NAN], 0.1).any() and len(false_discovery([], 0.1)) == 0


# --- the bootstrap ---------------------------------------------------------------------------------------------


def rows(counts):
    """The drawn units of each resample, written out."""
    return [np.repeat(np.arange(len(one)), one.astype(int)) for one in counts]


def test_means_and_ratios_are_those_of_the_units_drawn():
    rng = np.random.default_rng(0)
    above, below = rng.random(12), rng.random(12)
    drawn = Bootstrap.of_units(12, 300, np.random.default_rng(1))
    means = [above[one].mean() for one in rows(drawn.counts)]
    assert ends(drawn.mean(above)) == pytest.approx(np.percentile(means, (2.5, 97.5)))
    ratios = [above[one].sum() / below[one].sum() for one in rows(drawn.counts)]
    np.testing.assert_allclose(drawn.ratios(above, below), ratios)
    one = drawn.estimate(2.0, drawn.ratios(above, below))
    assert (one.value, one.n) == (2.0, 12) and ends(one) == pytest.approx(np.percentile(ratios, (2.5, 97.5)))
    assert drawn.mean(above).value == pytest.approx(above.mean())


def test_the_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(3).exponential(size=60)
    one = Bootstrap.of_units(60, 20000, np.random.default_rng(4)).mean(values)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert ends(one) == pytest.approx((expected.low, expected.high), abs=0.03 * (expected.high - expected.low))


def test_strata_keep_their_sizes():
    strata = [2, 0, 2, 0, 2]
    drawn = Bootstrap.of_units(5, 50, np.random.default_rng(0), strata)
    np.testing.assert_array_equal(drawn.counts[:, [0, 2, 4]].sum(axis=1), 3)
    np.testing.assert_array_equal(drawn.counts[:, [1, 3]].sum(axis=1), 2)
    alone = Bootstrap.of_units(5, 50, np.random.default_rng(0), [0, 0, 1, 2, 2])
    assert not alone.mean(np.arange(5)).known  # the unit of stratum 1 cannot vary


def test_what_a_bootstrap_cannot_know():
    for drawn in (
        Bootstrap.of_units(9, 0, np.random.default_rng(0)),
        Bootstrap.of_units(1, 9, np.random.default_rng(0)),
    ):
        one = drawn.mean(np.ones(drawn.n))
        assert one.value == 1 and not one.known and one.n == drawn.n


def test_undefined_ratios_are_left_out():
    drawn = Bootstrap([[2, 0], [1, 1], [0, 2]], 2)
    found = drawn.ratios([1, 1], [0, 1])
    np.testing.assert_array_equal(np.isnan(found), [True, False, False])
    assert ends(drawn.estimate(2.0, found)) == pytest.approx(np.percentile([2, 1], (2.5, 97.5)))


def test_one_object_gives_paired_intervals():
    values = np.random.default_rng(0).normal(size=50)
    drawn = Bootstrap.of_units(50, 200, np.random.default_rng(1))
    assert ends(drawn.mean(values + 0.5 - values)) == pytest.approx((0.5, 0.5))


def test_any_statistic_of_several_samples():
    one, other = np.arange(5.0), np.arange(10.0, 13.0)
    found = resample(
        lambda i, j: (np.median(one[i]), other[j].max() - one[i].min()), [5, 3], 4000, np.random.default_rng(0)
    )
    assert found.shape == (4000, 2)
    medians = [np.median(draw) for draw in itertools.product(one, repeat=5)]  # all 3125 equally likely resamples
    for value in one:
        assert np.mean(found[:, 0] == value) == pytest.approx(np.mean(np.equal(medians, value)), abs=0.03)
    np.testing.assert_allclose(middle(found)[:, 0], np.percentile(found[:, 0], (2.5, 97.5)))
    assert np.isnan(middle(np.full((5, 2), NAN))).all()
    assert middle(np.array([1.0, NAN, 3.0])) == pytest.approx(np.percentile([1, 3], (2.5, 97.5)))


# --- means of groups ---------------------------------------------------------------------------------------------


def test_means_of_groups_of_zeros_and_ones_are_wilsons_with_t():
    """Of 0/1 values the spread is the largest that a mean allows, so values are worth what trials are."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), 20)
    values = (rng.random(8000) < 0.4).astype(float)
    low, high = means_by_group(values, groups, 401)
    assert np.isnan(low[400]) and np.isnan(high[400])
    t = scipy.stats.t.ppf(0.975, 27)
    for c in range(5):
        p = values[groups == c].mean()
        middle_, half = (p + t * t / 40) / (1 + t * t / 20), math.sqrt(p * (1 - p) / 20 + t * t / 1600)
        half *= t / (1 + t * t / 20)
        assert (low[c], high[c]) == pytest.approx((middle_ - half, middle_ + half), abs=0.02)


def test_groups_without_spread_and_of_one_value():
    found = means_by_group([0.3, 0.3, 0.7, 0.7, 0.5], [0, 0, 1, 1, 2], 4)
    np.testing.assert_allclose(found, [[0.3, 0.7, NAN, NAN]] * 2)
    low, high = means_by_group([0.3, 0.3, 0.1, 0.9], [0, 0, 1, 1], 2)
    assert low[0] < 0.3 < high[0]  # the other group's spread is lent
    same = [0.2, 0.5, 0.4, 0.9]
    np.testing.assert_allclose(means_by_group(same, [0, 0, 1, 1], 2, same), 1)
    zero = means_by_group([0.0, 0.0, 0.2, 0.9], [0, 0, 1, 1], 2, [0.5, 0.9, 0.4, 0.9])
    assert zero[0, 0] == 0 < zero[1, 0] < 20
    assert np.isnan(means_by_group([0.1, 0.2], [0, 0], 1, [0.0, 0.0])).all()
    assert np.isnan(means_by_group([], [], 3)).all()
    for bad in ([0.5, 1.2], [-0.1, 0.5], [NAN, 0.5], [0.5]):
        with pytest.raises(ValueError, match=r"lies in 0\.\.1"):
            means_by_group(bad, [0, 0], 1)


def test_the_gap_of_two_estimates():
    gap = difference(Estimate(0.6, 0.5, 0.9, 5), Estimate(0.2, 0.16, 0.24, 7))
    assert (gap.value, gap.n) == (pytest.approx(0.4), 12)
    assert (gap.low, gap.high) == pytest.approx((0.4 - math.hypot(0.1, 0.04), 0.4 + math.hypot(0.3, 0.04)))
    assert not difference(Estimate(0.6, 0.5, 0.9), Estimate(0.2)).known


def test_what_is_the_same_on_both_sides_takes_the_width_of_their_gap():
    one = Estimate(0.5, 0.4, 0.6)
    assert ends(difference(one, one, correlation=1)) == (0, 0)
    assert ends(difference(one, one, correlation=-1)) == pytest.approx((-0.2, 0.2))


def test_a_ratio_of_what_is_never_negative_has_a_least_value():
    assert ratio([1, 9], [10, 10], [0, 1], least=0).low == 0
    assert ratio([1, 9], [10, 10], [0, 1]).low < 0


def test_an_estimate_as_columns_of_a_row() -> None:
    found = Estimate(0.5, 0.25, 0.75, 4)
    assert list(found.columns("x").items()) == [("x", 0.5), ("low", 0.25), ("high", 0.75)]
    assert list(found.columns("x", "x_low", "x_high")) == ["x", "x_low", "x_high"]


def test_paired_difference_is_newcombes():
    """Method 10 for the first example of table II in Newcombe (1998): 36, 12, 2, 0 give 0.0569 to 0.3404."""
    before = np.repeat([True, False, True, False], [36, 12, 2, 0])
    after = np.repeat([True, True, False, False], [36, 12, 2, 0])
    found = paired_difference(before, after)
    assert (round(found.value, 4), round(found.low, 4), round(found.high, 4), found.n) == (0.2, 0.0569, 0.3404, 50)
    back = paired_difference(after, before)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    same = paired_difference(before, before)
    assert same.value == 0 and same.low < 0 < same.high  # nothing changed on these images: others might
    assert np.isnan(paired_difference([], []).value)
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([True], [True, False])
