"""What stands behind the words of `spurious`: intervals that cover, nulls that stay null, the floor of LIME."""

from __future__ import annotations

import numpy as np
import pytest
from transferkit_spurious.findings import Findings, Subject, against_baseline, average
from transferkit_spurious.local import lime, lime_with_floor
from transferkit_spurious.options import Options
from transferkit_spurious.regions import _patches
from transferkit_spurious.verdict import _against, _by_lime

from transferkit.statistics import Estimate
from transferkit.testing import tiny_model

MODELS = [Subject(role, role, tiny_model(["a", "b"])) for role in ("target", "baseline", "source")]


def held(draw, times=600):
    """The share of intervals that hold 0, of draws with that mean."""
    found = [draw(np.random.default_rng(seed)) for seed in range(times)]
    return np.mean([one.low <= 0 <= one.high for one in found])


@pytest.mark.parametrize("classes", [5, 8, 40])
def test_the_excess_on_images_covers_what_a_training_did_to_whole_classes(classes):
    labels = np.repeat(np.arange(classes), 12)

    def one(rng):
        moves = {
            (role, "shift"): rng.normal(1, 0.2, classes)[labels] + rng.normal(0, 0.3, len(labels))
            for role in ("target", "baseline", "source")
        }
        return against_baseline(MODELS, moves, labels)["target", "shift"]

    assert 0.93 <= held(one) <= 0.97
    ignored = held(lambda rng: average(rng.normal(0, 0.2, classes)[labels] + rng.normal(0, 0.3, len(labels))))
    assert ignored < 0.85  # images alone: too short


def test_rows_of_a_table_are_independent():
    assert 0.93 <= held(lambda rng: average(rng.exponential(size=200) - rng.exponential(size=200))) <= 0.97
    assert not average(np.ones(4), np.zeros(4, int)).known  # one class


def test_a_patch_that_matters_no_more_than_others_is_not_made_large_by_choosing_it():
    labels = np.repeat(np.arange(20), 4)
    chosen, largest = [], []
    for seed in range(200):
        found = _patches(np.random.default_rng(seed).exponential(size=(36, 2, 80)), labels, 6)
        chosen.append(found.effect.moved.value)
        largest.append(found.moved.max())
    assert np.mean(chosen) == pytest.approx(1, abs=0.04) and np.mean(largest) > 1.2
    planted = np.random.default_rng(0).exponential(size=(36, 2, 80))
    planted[13] *= 3
    found = _patches(planted, labels, 6)
    assert found.most == (2, 1) and found.effect.moved.above(1.5)


def test_the_floor_of_lime_is_what_a_column_without_effect_has():
    rng, impacts, floors = np.random.default_rng(0), [], []
    for _ in range(300):
        slopes, floor = lime_with_floor(lambda x: x[:, 0] + rng.normal(size=len(x)), np.zeros(8), np.ones(8), 200, rng)
        impacts.append(np.abs(slopes))
        floors.append(floor)
    impact, floor = np.mean(impacts, axis=0), np.mean(floors, axis=0)
    assert floor[1:] == pytest.approx(impact[1:], rel=0.2) and impact[0] > 5 * floor[0]
    assert np.mean(floors) == pytest.approx(np.mean(impact[1:]), rel=0.12)


def test_the_floor_is_nothing_for_a_straight_model_and_unknown_with_few_samples():
    slope, arguments = np.arange(4.0), (np.zeros(4), np.ones(4))
    slopes, floor = lime_with_floor(lambda x: x @ slope, *arguments, 100, np.random.default_rng(0))
    assert floor == pytest.approx(0, abs=1e-6)
    assert np.array_equal(slopes, lime(lambda x: x @ slope, *arguments, 100, np.random.default_rng(0)))
    assert np.isnan(lime_with_floor(lambda x: x @ slope, *arguments, 10, np.random.default_rng(0))[1]).all()


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([(0.2, 0.1, 0.3), (0.1, 0.05, 0.2)], "target answers to it more than the baseline"),
        ([(-0.2, -0.3, -0.1), (-0.1, -0.2, -0.05)], "target answers to it less than the baseline"),
        ([(0.2, 0.1, 0.3), (-0.1, -0.2, -0.05)], "more than the baseline to shift and less to scale"),
        ([(0.2, 0.1, 0.3), (0.0, -0.1, 0.1)], "is not certain: the excess may be as large as 0.3 "),
        ([(0.01, -0.02, 0.04), (0.0, -0.1, 0.1)], "is not certain: the excess may be as large as 0.1 "),
    ],
)
def test_no_more_than_the_baseline_is_a_bound(gaps, expected):
    given = dict(zip(("shift", "scale"), (Estimate(*gap, 9) for gap in gaps), strict=True))
    assert expected in _against(given, "target")


def test_an_impact_at_its_floor_is_said_to_be_there():
    from transferkit_spurious.findings import Lime

    key = ("target", "spurious")
    for low, words in ((-0.01, "not surely above the 0.1 that noise"), (0.01, ", above the 0.1 that noise")):
        one = Lime(
            {}, {key: Estimate(0.12, 0.1, 0.14, 9)}, {key: Estimate(0.1)}, {key: Estimate(0.02, low, 0.05, 9)}, {}
        )
        assert words in _by_lime(Options(), Findings([], 9, "val", lime=one))
