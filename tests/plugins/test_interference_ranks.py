"""AUROC, AUPR, FPR95 and AURC against brute force and SciPy; splits by key; intervals that know classes."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from transferkit_interference.evaluation import rivals
from transferkit_interference.material import calibration_share, some, source_halves
from transferkit_interference.ranks import (
    Judged,
    accuracy_at_coverage,
    aupr,
    aurc,
    auroc,
    fpr_at_tpr,
    judged_aurc,
    judged_auroc,
    share_above,
)


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


@pytest.mark.parametrize("levels", [0, 2])
def test_leaving_out_classes_and_images_is_the_auroc_without_them(levels):
    positive, negative = scores(3, levels, sizes=(20, 9))
    classes = np.repeat([4, 7, 9, 12], [2, 3, 5, 10])
    found = judged_auroc(positive, negative, classes, np.arange(9))
    assert found.value == auroc(positive, negative)
    without = [auroc(positive[classes != c], negative) for c in np.unique(classes)]
    without_image = [auroc(positive, np.delete(negative, i)) for i in range(9)]
    parts = [np.array(without) - found.value, np.array(without_image) - found.value]
    variances = [(len(part) - 1) / len(part) * (part**2).sum() for part in parts]
    kish = 20**2 / (4 + 9 + 25 + 100) - 1
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / kish + variances[1] ** 2 / 8)
    half = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(sum(variances))
    gap = found.gap()
    assert (gap.low, gap.high) == pytest.approx((found.value - half, found.value + half)) and gap.n == 13


def test_the_interval_of_a_share_is_wilsons_of_as_many_trials():
    found = Judged(0.9, ((np.array([0.03]), 50.0),))
    low, high = proportion(0.9, 0.9 * 0.1 / 0.03**2, scipy.stats.t.ppf(0.975, 50))
    assert (found.share().low, found.share().high) == pytest.approx((low, high))
    sure = judged_auroc([3.0, 4, 5, 6], [0.0, 1, 2], [0, 0, 1, 2], [0, 1, 2])
    assert sure.value == 1 and sure.share().high == 1 and 0.05 < sure.share().low < 0.6  # as of three trials


def proportion(p, n, z):
    """Wilson's ends as the two solutions of (p - x)² = z²·x(1 - x)/n."""
    return sorted(np.roots([1 + z**2 / n, -(2 * p + z**2 / n), p**2]).real)


def test_a_lone_class_or_image_and_differences_without_spread_have_no_interval():
    assert not judged_auroc([1.0, 2], [0.0, 3], [5, 5], [0, 1]).share().known
    assert not judged_auroc([1.0, 2], [0.0], [5, 6], [0]).share().known
    assert math.isnan(judged_auroc([], [0.0], [], [0]).share().value)
    best, worst = (judged_auroc([sign, 2.0 * sign], [0.0, 0.0], [0, 1], [0, 1]) for sign in (1, -1))
    assert best.beyond(worst).value == 1 and not best.beyond(worst).gap().known
    same = best.beyond(best).gap()
    assert (same.low, same.value, same.high) == (0, 0, 0)


def drawn(rng, classes, each, clean, shift, alike):
    """Scores of images whose classes differ, and of clean ones; the classes."""
    labels = np.repeat(np.arange(classes), each)
    return (
        shift + alike * rng.normal(size=classes)[labels] + rng.normal(size=len(labels)),
        rng.normal(size=clean),
        labels,
    )


@pytest.mark.parametrize(
    ("classes", "each", "clean", "shift", "alike"), [(7, 5, 100, 1.5, 0.5), (30, 3, 76, 3, 0.7), (100, 2, 76, 3, 0.7)]
)
def test_the_interval_holds_the_auroc_of_all_classes(classes, each, clean, shift, alike):
    rng, truth = np.random.default_rng(0), scipy.stats.norm.cdf(shift / math.sqrt(2 + alike**2))
    held = []
    for _ in range(600):
        positive, negative, labels = drawn(rng, classes, each, clean, shift, alike)
        found = judged_auroc(positive, negative, labels, np.arange(clean)).share()
        held.append(found.low <= truth <= found.high)
    assert 0.91 <= np.mean(held) <= 0.985


def rows_of(positive, negative, labels, number):
    """Detectors that see the same images, all alike but for noise of their own; the rows of a comparison."""
    rng = np.random.default_rng(number)
    found = []
    for i in range(13):
        seen = [0.7 * part + 0.7 * rng.normal(size=len(part)) for part in (positive, negative)]
        judged = judged_auroc(*seen, labels, np.arange(len(negative)))
        found.append(SimpleNamespace(judged={"presence": judged}, detector=SimpleNamespace(name=str(i), passes=1)))
    return found


def test_of_twelve_detectors_that_are_no_better_one_is_rarely_called_better():
    """The largest of twelve differences, each at 5 %, would be called in a third of the trials."""
    rng, called, naive = np.random.default_rng(1), [], []
    for number in range(300):
        chosen, *others = rows_of(*drawn(rng, 20, 3, 100, 1, 0.5), number)
        called.append(any(rival.gain.above(0) for rival in rivals(chosen, [chosen, *others])))
        single = [other.judged["presence"].beyond(chosen.judged["presence"]).gap() for other in others]
        naive.append(any(gap.above(0) for gap in single))
    assert np.mean(called) <= 0.05 and np.mean(naive) > 0.1


def test_one_that_is_better_is_found():
    rng, called = np.random.default_rng(2), []
    for number in range(50):
        positive, negative, labels = drawn(rng, 30, 3, 100, 1.5, 0.3)
        chosen, *others = rows_of(positive, negative, labels, number)
        better = judged_auroc(positive + 1.5, negative, labels, np.arange(100))
        others.append(SimpleNamespace(judged={"presence": better}, detector=SimpleNamespace(name="x", passes=1)))
        dear = SimpleNamespace(judged={"presence": better}, detector=SimpleNamespace(name="dear", passes=2))
        found = rivals(chosen, [chosen, *others, dear])
        assert "dear" not in [rival.detector.name for rival in found]
        called.append([rival.detector.name for rival in found if rival.gain.above(0)] == ["x"])
    assert np.mean(called) > 0.9


def test_harm_is_drawn_by_classes_and_paired():
    rng = np.random.default_rng(0)
    labels, clean = np.repeat(np.arange(12), 4), np.arange(60)
    wrong = np.concatenate([rng.random(48) < 0.6, rng.random(60) < 0.1])
    good, bad = wrong + 0.5 * rng.normal(size=108), rng.normal(size=108)
    one, other, same = judged_aurc([good, bad, good], wrong, [labels, clean], 400, np.random.default_rng(1))
    assert one.value == aurc(good, wrong) and other.beyond(one).gap().above(0)
    assert one.beyond(same).gap().high == 0

    def again(generator):
        chosen = generator.integers(12, size=12)
        rows = np.concatenate([*(np.flatnonzero(labels == c) for c in chosen), 48 + generator.integers(60, size=60)])
        return aurc(good[rows], wrong[rows])

    generator = np.random.default_rng(2)
    sd = np.std([again(generator) for _ in range(2000)]) * math.sqrt(12 / 11)
    gap = one.gap()
    assert (gap.high - gap.low) / 2 == pytest.approx(scipy.stats.t.ppf(0.975, 11) * sd, rel=0.1)
    assert not judged_aurc([good], wrong, [labels, clean], 0, generator)[0].gap().known
    assert math.isnan(judged_aurc([np.zeros(0)], np.zeros(0), [[], []], 9, generator)[0].gap().value)


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
