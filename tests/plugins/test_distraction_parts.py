"""The parts of the analyzer `distraction`: the choice of classes, moved masks, class numbers, tests and intervals."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel
from transferkit_distraction.classes import class_mean, mean, occlusion_over, p_value, sign_test
from transferkit_distraction.looking import nearest, shifted
from transferkit_distraction.measure import choose, counted, in_order
from transferkit_distraction.verdict import percent_of, value

from transferkit.analysis import mean_colour
from transferkit.report import first_name

# --- choice -------------------------------------------------------------------------------------------------


ALL = [9] * 100  # images


def test_the_order_is_keyed_by_class_and_seed():
    order = in_order(range(100), 0)
    assert sorted(order) == list(range(100)) and order != list(range(100))
    assert in_order(reversed(range(100)), 0) == order
    assert in_order(range(100), 1) != order
    kept = [number for number in order if number % 3]  # other classes do not move the rest
    assert in_order([number for number in range(100) if number % 3], 0) == kept


def test_the_first_classes_do_not_depend_on_what_lingers():
    first = in_order(range(100), 0)[:20]
    for lingering in ([], range(100), range(0, 100, 2), range(90, 100)):
        assert choose(ALL, 5, lingering, 20, 0)[:20] == first


def test_lingering_classes_are_added_until_there_are_ten():
    order = in_order(range(100), 0)
    lingering = set(order[15:18] + order[40:60])
    found = choose(ALL, 5, lingering, 20, 0)
    assert found == order[:20] + order[40:47]  # three of the first twenty linger, seven more are added
    assert choose(ALL, 5, set(order[:12]), 20, 0) == order[:20]
    assert choose(ALL, 5, set(order[40:43]), 20, 0) == order[:20] + order[40:43]  # no more linger
    assert choose(ALL, 5, set(order[40:60]), 4, 0) == order[:4] + order[40:44]  # four are wanted
    assert choose([9] * 8, 5, range(8), 20, 0) == in_order(range(8), 0)
    assert choose([], 5, [], 5, 0) == []


# --- moved masks --------------------------------------------------------------------------------------------


def test_a_moved_mask_keeps_its_size_and_stays_out_of_the_box():
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(4, 30, 2)
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        box = (int(top), int(left), int(top + height // 3), int(left + width // 3))
        mask = rng.random((height, width)) > 0.7
        mask[box[0] : box[2], box[1] : box[3]] = False
        found = shifted(mask, box, rng.uniform(0.25, 0.75))
        assert found.sum() == mask.sum()
        assert not found[box[0] : box[2], box[1] : box[3]].any()


def test_moving_by_hand():
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    half = shifted(mask, (0, 0, 0, 0), 0.5)  # 6 of 12 pixels further
    assert half.astype(int).tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    past = shifted(mask, (1, 2, 2, 4), 0.5)  # 5 of 10: the two pixels of the box are skipped
    assert past.astype(int).tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_array_equal(shifted(mask, (0, 0, 0, 0), 0.0), mask)


# --- unrelated pictures -------------------------------------------------------------------------------------


def test_the_nearest_place_of_another_owner():
    places = np.array([[0, 0, 9, 9], [5, 5, 9, 9], [1, 0, 9, 9], [6, 6, 9, 9], [1, 0, 9, 9]])
    owners = np.array([0, 0, 1, 1, 2])
    assert nearest(places, owners, 0).tolist() == [2, 3]  # of the two equal ones the first
    assert nearest(places, owners, 1).tolist() == [4, 1]
    assert nearest(places, owners, 2).tolist() == [2]


# --- colours ------------------------------------------------------------------------------------------


def test_the_mean_colour_in_eight_bits():
    assert mean_colour((0.485, 0.456, 0.406)) == (124, 116, 104)
    assert mean_colour((0.5,)) == (128, 128, 128)
    assert mean_colour((-0.1, 0.0, 2.0)) == (0, 0, 255)


# --- statistics ---------------------------------------------------------------------------------------------


def test_the_paired_test_says_what_its_interval_says():
    rng = np.random.default_rng(0)
    for count in (2, 5, 20):
        for shift in (0.0, 0.3, 1.0, 3.0):
            values = rng.normal(shift, 1, count).tolist()
            found, p = class_mean(values), p_value(values)
            assert p == pytest.approx(ttest_rel(values, np.zeros(count)).pvalue)
            assert (p < 0.05) == (found.above(0) or found.below(0))
    assert math.isnan(p_value([0.0, 0.0])) and math.isnan(p_value([0.1])) and p_value([0.1, 0.1]) == 0


def test_the_sign_test_by_hand():
    # five pairs, all in one direction: 2 of 32 assignments of signs are as extreme
    assert sign_test([0.5, 0.6, 0.7, 0.8, 0.9, 0.0]) == pytest.approx(2 / 32)
    assert sign_test([0.4, -0.4]) == 1 and math.isnan(sign_test([0.0])) and math.isnan(sign_test([]))


def test_intervals_over_few_classes_hold_the_truth():
    """Seven classes whose composites are measured with noise of their own: a percentile bootstrap has 87 % of 95."""
    rng, held = np.random.default_rng(0), []
    for _ in range(1000):
        values = rng.normal(0.08, 0.08, 7) + rng.normal(0, 0.2, (7, 20)).mean(axis=1)
        found = class_mean([*values, math.nan])
        assert found.n == 7  # a class without a value is left out
        held.append(found.low <= 0.08 <= found.high)
    assert 0.93 <= np.mean(held) <= 0.97
    one, none = class_mean([0.5]), class_mean([])
    assert (one.value, one.known, math.isnan(none.value), none.known) == (0.5, False, True, False)


def test_hiding_without_an_effect_is_called_one_in_one_of_twenty():
    """Whole classes are what varies: in one nearly all wrong answers become right, in another none."""
    rng, held = np.random.default_rng(0), []
    for _ in range(400):
        classes = []
        for _ in range(10):
            share, tried = rng.beta(2, 2, 2), int(rng.integers(3, 20))
            after = [torch.from_numpy((rng.random(tried) < each).astype(int)) for each in share]
            seen = SimpleNamespace(
                part=SimpleNamespace(labels=torch.ones(tried, dtype=torch.int64)),
                wrong=torch.ones(tried, dtype=torch.bool),
                occluded={"index": torch.arange(tried), "hidden": after[0], "control": after[1],
                          "shared": torch.zeros(tried)},
            )  # fmt: skip
            classes.append(SimpleNamespace(seen=seen))
        found = occlusion_over(classes)
        assert found.difference.value == pytest.approx(found.recovered - found.recovered_control)
        held.append(found.difference.low <= 0 <= found.difference.high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_classes_with_enough_images_come_first_and_lingering_ones_are_added():
    images = [0, 1, 9, 5, 2, 7, 1, 30, 4, 6]
    found = choose(images, 5, [], 5, seed=3)
    assert set(found) == {2, 3, 5, 7, 9} and found == [n for n in in_order(range(10), 3) if n in found]
    more = choose(images, 5, [], 7, seed=3)
    assert more[:5] == found and set(more[5:]) < {1, 4, 6, 8}
    assert choose(images, 5, [7, 1, 4], 2, seed=3)[:2] == found[:2]
    assert {7, 1, 4} <= set(choose(images, 5, [7, 1, 4], 3, seed=3))


def made_up(state, remembered):
    return SimpleNamespace(state=state, remembered=remembered)


def test_uncertain_classes_count_where_few_are_certain():
    shared, forgotten = made_up("shared", False), made_up("source_only", False)
    certain, perhaps, not_so = made_up("lingering", True), made_up("uncertain", True), made_up("uncertain", False)
    assert counted([shared, certain, perhaps, forgotten, not_so]) == [certain, perhaps]
    assert counted([shared, perhaps, *[certain] * 5]) == [certain] * 5


def test_words():
    assert first_name("tench, Tinca tinca") == "tench" and first_name(",x") == ",x"
    assert (value(math.nan), value(0.126), percent_of(math.nan), percent_of(0.126)) == ("–", "0.13", "–", "13 %")
    assert mean([1.0, math.nan, 2.0]) == 1.5 and math.isnan(mean([]))
