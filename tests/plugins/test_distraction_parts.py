"""The parts of the analyzer `distraction`: the choice of classes, moved masks, class numbers, tests and intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom
from transferkit_distraction.choice import choose, in_order
from transferkit_distraction.occlusion import shifted
from transferkit_distraction.study import nearest
from transferkit_distraction.summary import p_value, resampled
from transferkit_distraction.views import shared_numbers
from transferkit_distraction.wording import between, mean, percent_of, value
from transferkit_lingering.wording import first_name

from transferkit.analysis import mean_colour
from transferkit.errors import InputError

# --- choice -------------------------------------------------------------------------------------------------


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
        assert choose(range(100), lingering, 20, 0)[:20] == first


def test_lingering_classes_are_added_until_there_are_ten():
    order = in_order(range(100), 0)
    lingering = set(order[15:18] + order[40:60])
    found = choose(range(100), lingering, 20, 0)
    assert found == order[:20] + order[40:47]  # three of the first twenty linger, seven more are added
    assert choose(range(100), set(order[:12]), 20, 0) == order[:20]
    assert choose(range(100), set(order[40:43]), 20, 0) == order[:20] + order[40:43]  # no more linger
    assert choose(range(100), set(order[40:60]), 4, 0) == order[:4] + order[40:44]  # four are wanted
    assert choose(range(8), range(8), 20, 0) == in_order(range(8), 0)
    assert choose([], [], 5, 0) == []


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


# --- class numbers and colours ------------------------------------------------------------------------------


def test_classes_of_the_baseline_are_found_by_name():
    assert shared_numbers(["a", "b"], ["a", "b"]) == [0, 1]
    assert shared_numbers(["a", "b"], ["b", "x", "a"]) == [2, 0]


def test_nameless_classes_are_taken_in_order():
    assert shared_numbers(["ant", "bee"], ["0", "1"]) == [0, 1]
    assert shared_numbers(["0", "1"], ["ant", "bee"]) == [0, 1]


def test_other_classes_are_refused():
    for other in (["a", "c"], ["0", "1", "2"]):
        with pytest.raises(InputError, match="the baseline has other classes than the target"):
            shared_numbers(["a", "b"], other)


def test_the_mean_colour_in_eight_bits():
    assert mean_colour((0.485, 0.456, 0.406)) == (124, 116, 104)
    assert mean_colour((0.5,)) == (128, 128, 128)
    assert mean_colour((-0.1, 0.0, 2.0)) == (0, 0, 255)


# --- statistics ---------------------------------------------------------------------------------------------


def test_the_paired_test_by_hand():
    # five pairs, all in one direction: 2 of 32 assignments of signs are as extreme
    assert p_value([0.5, 0.6, 0.7, 0.8, 0.9], [0.4, 0.4, 0.4, 0.4, 0.4]) == pytest.approx(2 / 32)
    assert p_value([0.4, 0.4], [0.5, 0.6]) == pytest.approx(1 / 2)
    assert math.isnan(p_value([0.1, 0.2], [0.1, 0.2])) and math.isnan(p_value([], []))


def test_intervals_over_classes_by_the_binomial_law():
    # a mean of n zeros and n ones, resampled, is Binomial(2n, 1/2) / 2n
    values = np.repeat([0.0, 1.0], 20)
    low, high = resampled(40, lambda rows: values[rows].mean(axis=1), np.random.default_rng(0))
    assert low == pytest.approx(binom.ppf(0.025, 40, 0.5) / 40, abs=0.026)
    assert high == pytest.approx(binom.ppf(0.975, 40, 0.5) / 40, abs=0.026)
    assert all(
        math.isnan(end) for end in resampled(1, lambda rows: values[rows].mean(axis=1), np.random.default_rng(0))
    )
    assert resampled(5, lambda rows: np.full(len(rows), 0.3), np.random.default_rng(0)) == (0.3, 0.3)


def test_words():
    assert first_name("tench, Tinca tinca") == "tench" and first_name(",x") == ",x"
    assert (value(math.nan), value(0.126), percent_of(math.nan), percent_of(0.126)) == ("–", "0.13", "–", "13 %")
    assert between((math.nan, math.nan)) == "" and between((0.1, 0.2)) == " (95 % interval 0.10 to 0.20)"
    assert mean([1.0, math.nan, 2.0]) == 1.5 and math.isnan(mean([]))
