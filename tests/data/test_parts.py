"""Fractions and validation splits, counted by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from transferkit.data.parts import carve_validation, per_class_fraction
from transferkit.errors import InputError

LABELS = np.array([0] * 10 + [1] * 5 + [2] * 3 + [3])[np.random.default_rng(0).permutation(19)]


def counts(labels):
    return np.bincount(labels, minlength=4).tolist()


@pytest.mark.parametrize(
    ("fraction", "expected"),
    # floor(f * n + 1/2) of 10, 5, 3, 1
    [(0.5, [5, 3, 2, 1]), (0.75, [8, 4, 2, 1]), (1.0, [10, 5, 3, 1])],
)
def test_counts_per_class(fraction, expected):
    chosen = per_class_fraction(LABELS, fraction, seed=1)
    assert counts(LABELS[chosen]) == expected
    assert np.array_equal(chosen, np.unique(chosen))


def test_products_are_not_lost_to_rounding():
    # 0.29 * 50 is 14.499999999999998 in binary, 14.5 on paper
    assert len(per_class_fraction(np.zeros(50, int), 0.29, 0)) == 15


def test_smaller_fractions_are_nested():
    labels = np.repeat(np.arange(7), 40)
    chosen = [set(per_class_fraction(labels, f, seed=3).tolist()) for f in (0.1, 0.15, 0.3, 0.5, 1.0)]
    assert all(small < large for small, large in pairwise(chosen))


def test_seeds_differ_and_repeat():
    labels = np.repeat(np.arange(2), 100)
    first = per_class_fraction(labels, 0.5, 0)
    assert np.array_equal(first, per_class_fraction(labels, 0.5, 0))
    assert not np.array_equal(first, per_class_fraction(labels, 0.5, 1))


def test_a_class_that_would_be_empty_is_named():
    with pytest.raises(InputError, match=r"leaves no image of the class 'rare', which has 1; at least 0\.5"):
        per_class_fraction(LABELS, 0.4, 0, ["a", "b", "c", "rare"])
    with pytest.raises(InputError, match="class 3"):
        per_class_fraction(LABELS, 0.4, 0)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.1, [1, 1, 1, 0]), (0.3, [3, 2, 1, 0]), (0.99, [9, 4, 2, 0]), (0.0, [0, 0, 0, 0])]
)
def test_validation_is_stratified(share, expected):
    train, val = carve_validation(LABELS, share, seed=2)
    assert counts(LABELS[val]) == expected
    assert sorted([*train, *val]) == list(range(19))


def test_an_empty_set_has_empty_parts():
    assert [len(part) for part in carve_validation([], 0.5, 0)] == [0, 0]
    assert len(per_class_fraction([], 0.5, 0)) == 0
