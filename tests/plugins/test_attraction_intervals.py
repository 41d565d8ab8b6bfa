"""What stands behind the words of `attraction`: intervals that cover, arms that are alike, planted differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from transferkit_tennis_ball.learned import paired_difference
from transferkit_tennis_ball.measure import Arm, compare, difference

from transferkit.statistics import Estimate

TIMES = 1000


def arm(labels, predicted, classes, images=100.0):
    unknown = Estimate(float("nan"))
    return Arm(
        name="any", attraction_marked=unknown, attraction_clean=unknown, added=unknown, images=0,
        accuracy_marked=unknown, accuracy_clean=unknown, largest=("", 0.0), classes=classes,
        target_images=images, source_images=0.0, labels=labels, predicted=predicted,
    )  # fmt: skip


def trained(rng, classes, per_class, right, drawn=0.1, spread=0.1):
    """An arm whose training is good at some classes and bad at others; class 0 is the treated label."""
    labels = np.repeat(np.arange(classes), per_class)
    recall = np.clip(right + spread * rng.standard_normal(classes), 0, 1)[labels]
    pull = np.clip(drawn + spread * rng.standard_normal(classes), 0, 1)[labels]
    wrong = np.where(rng.random(len(labels)) < pull / np.maximum(1 - recall, 1e-9), 0, (labels + 1) % classes)
    return arm(labels, np.where(rng.random(len(labels)) < recall, labels, wrong), classes)


@pytest.mark.parametrize("classes", [5, 10, 40])
def test_two_trainings_alike_in_law_are_told_apart_in_one_of_twenty(classes):
    told = []
    for seed in range(TIMES):
        rng = np.random.default_rng(seed)
        one, other = (trained(rng, classes, 40, 0.6) for _ in range(2))
        found = compare(one, other, 0, 1, shared=True)
        told.append([gap.above(0) or gap.below(0) for gap in (found.accuracy, found.attraction)])
    assert np.any(told, axis=1).mean() <= 0.06  # of both at once
    assert np.mean(told) >= 0.012


def test_a_planted_difference_is_found():
    found = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        good, bad = trained(rng, 10, 40, 0.8, 0.05), trained(rng, 10, 40, 0.5, 0.4)
        versus = compare(good, bad, 0, 2, shared=True)
        found.append(versus.accuracy.above(0) and versus.attraction.below(0) and versus.equal)
    assert np.mean(found) > 0.8


def test_images_of_both_sets_need_not_be_the_same():
    labels = np.array([0, 0, 1, 1, 2, 2])
    found = difference((labels, np.array([1, 1, 1, 0, 0, 0], bool)), (labels[:5], np.array([0, 0, 1, 0, 0], bool)))
    assert found.value == pytest.approx(3 / 6 - 1 / 5) and found.n == 3 and -1 <= found.low <= found.high <= 1


@pytest.mark.parametrize(
    ("images", "with_mark", "alike"), [(10, 0.5, 0.0), (20, 0.9, 0.5), (50, 0.4, 0.8), (100, 0.7, 0.3)]
)
def test_what_a_mark_adds_is_covered(images, with_mark, alike):
    held = []
    for seed in range(TIMES):
        rng = np.random.default_rng(seed)
        common, own = rng.standard_normal(images), rng.standard_normal((2, images))
        both = norm.cdf(np.sqrt(alike) * common + np.sqrt(1 - alike) * own)  # each uniform, and alike
        found = paired_difference(both[0] < with_mark, both[1] < 0.3)
        held.append(found.low <= with_mark - 0.3 <= found.high)
    assert 0.93 <= np.mean(held) <= 0.98


def test_newcombe_by_his_own_example():
    """Newcombe 1998, Statistics in Medicine 17:2635, table II: 36, 12, 2, 0 of 50 by method 10: 0.0569 to 0.3404."""
    one, other = np.repeat([1, 1, 0], [36, 12, 2]).astype(bool), np.repeat([1, 0, 1], [36, 12, 2]).astype(bool)
    found = paired_difference(one, other)
    assert found.value == pytest.approx(0.2) and (found.low, found.high) == pytest.approx((0.0569, 0.3404), abs=2e-3)
    assert paired_difference(np.ones(4, bool), np.zeros(4, bool)).low < 1  # no certainty from four images
