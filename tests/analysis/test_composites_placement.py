"""Where overlays go: uniform over all places, both ends included, and a function of the arguments alone."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from transferkit.analysis import place_overlay


def draws(count, *, seed=0, pool=7, size=20, scale=0.4):
    """(count, 4): overlay, top, left, side for as many images."""
    return np.array([place_overlay(seed, 3, f"image {i}", i % 4, pool, size, scale) for i in range(count)])


def uniform(values, positions):
    """The p-value of "all of 0..positions-1 are equally likely"; fails where a value lies outside."""
    counts = np.bincount(values, minlength=positions)
    assert len(counts) == positions and counts.min() > 0
    return chisquare(counts).pvalue


def test_overlays_and_offsets_are_uniform_with_both_ends():
    overlay, top, left, side = draws(6000).T
    assert set(side) == {8}
    assert uniform(overlay, 7) > 1e-3
    assert uniform(top, 13) > 1e-3 and uniform(left, 13) > 1e-3
    assert {0, 12} <= set(top) and {0, 12} <= set(left)


def test_overlay_top_and_left_are_independent():
    overlay, top, left, _ = draws(6000).T
    assert uniform(top * 13 + left, 169) > 1e-3
    assert uniform(overlay * 13 + top, 91) > 1e-3


def test_repeats_classes_and_seeds_are_uniform_too():
    for places in (
        [place_overlay(0, 3, "a", repeat, 5, 20, 0.4) for repeat in range(3000)],
        [place_overlay(0, number, "a", 0, 5, 20, 0.4) for number in range(3000)],
        [place_overlay(seed, 3, "a", 0, 5, 20, 0.4) for seed in range(3000)],
    ):
        overlay, top, left, _ = np.array(places).T
        assert min(uniform(overlay, 5), uniform(top, 13), uniform(left, 13)) > 1e-3


@pytest.mark.parametrize(
    ("size", "scale", "side"),
    [(224, 0.4, 90), (224, 0.316, 71), (10, 0.25, 3), (10, 0.24, 2), (10, 0.05, 1), (7, 0.5, 4), (32, 1.0, 32)],
)
def test_the_side_is_rounded_half_up(size, scale, side):
    assert place_overlay(0, 0, "x", 0, 1, size, scale)[3] == side


def test_an_overlay_of_the_whole_image_has_one_place():
    assert {place_overlay(0, 0, f"{i}", 0, 1, 16, 1.0) for i in range(50)} == {(0, 0, 0, 16)}


def test_it_is_a_function_of_its_arguments_alone():
    arguments = (5, 3, "n01440764/a.jpg", 2, 9, 224, 0.4)
    found = place_overlay(*arguments)
    np.random.seed(1)
    np.random.rand(10)
    assert place_overlay(*arguments) == found
    assert all(type(value) is int for value in found)
    # NumPy integers are as good as Python's
    assert place_overlay(np.int64(5), np.int64(3), np.str_("n01440764/a.jpg"), 2, 9, 224, 0.4) == found
    code = f"from transferkit.analysis import place_overlay; print(place_overlay(*{arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(found)


def test_every_argument_matters():
    base = (0, 3, "a", 0, 1000, 224, 0.4)
    for position, other in enumerate((1, 4, "b", 1)):
        changed = (*base[:position], other, *base[position + 1 :])
        assert place_overlay(*changed) != place_overlay(*base)
    # the text of an id cannot run into the repeat: these are four different images
    ids = [("a1", 1), ("a", 11), ("a11", 0), ("a", 1)]
    assert len({place_overlay(0, 3, name, repeat, 10**6, 224, 0.4) for name, repeat in ids}) == 4


def test_most_pictures_differ():
    counts = Counter(map(tuple, draws(500, size=224, pool=50).tolist()))
    assert counts.most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    ("pool", "scale", "text"),
    [
        (0, 0.4, "no overlay to choose from"),
        (1, 0.0, "has 0 pixels a side"),
        (1, 1.2, "does not fit"),
        (1, -0.5, "does not fit"),
    ],
)
def test_what_cannot_be_placed_is_refused(pool, scale, text):
    with pytest.raises(ValueError, match=text):
        place_overlay(0, 0, "a", 0, pool, 20, scale)
