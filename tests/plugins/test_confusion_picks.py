"""Overlays, backgrounds, halves and places: by hand, by brute force, and free of order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from transferkit_confusion import pick_backgrounds, pick_overlays
from transferkit_confusion.making import Maker
from transferkit_confusion.picks import Background, bounds, halves, within

from transferkit.analysis import place_overlay
from transferkit.data.randomness import key
from transferkit.data.samples import Samples
from transferkit.data.transforms import transforms
from transferkit.testing import tiny_model
from transferkit.testing.tiny import tiny_source


def names(found, group):
    return [one.source for one in found if one.group == group]


def test_overlays_are_those_that_every_model_is_sure_of():
    probabilities = [[0.9, 0.8, 0.99, 0.7], [0.5, 0.8, 0.4, 0.7]]
    found = pick_overlays(probabilities, np.array([0, 0, 0, 1]), ["d", "c", "b", "a"], 2)
    assert found == {0: [1, 0], 1: [3]}


def test_equal_overlays_by_id():
    assert pick_overlays([[0.5, 0.5, 0.5]], np.zeros(3, int), ["c", "a", "b"], 2) == {0: [1, 2]}


ANTS = np.array([1.0, 0.9, 0.85, 0.7, 0.5, 0.4, 0.55, 0.3, 0.1, 0.0])
TWO = np.stack([ANTS, 1 - ANTS], axis=1)


def test_two_classes_mirror_each_other():
    ants = pick_backgrounds(TWO, range(10), 0, 3, 4)
    bees = pick_backgrounds(TWO, range(10), 1, 3, 4)
    assert names(ants, "with") == [0, 1, 2] and names(ants, "against") == [9, 8, 7]
    assert names(bees, "with") == [9, 8, 7] and names(bees, "against") == [0, 1, 2]
    assert names(ants, "neutral") == names(bees, "neutral") == [4, 6, 5, 3]
    assert [one.bias for one in ants][:2] == [1.0, 0.9]
    assert ants[3].index == 0 and ants[0].index == 1


def test_only_eligible_classes_and_ties_by_id():
    flat = np.full((8, 2), 0.5)
    assert [one.source for one in pick_backgrounds(flat, [7, 5, 3, 1], 0, 1, 1)] == [1, 5, 3]
    assert {one.source for one in pick_backgrounds(TWO, [4, 6, 5], 0, 3, 4)} == {4, 5, 6}


def test_more_than_two_classes():
    shares = np.array(
        [[0.8, 0.1, 0.1], [0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [0.4, 0.3, 0.3], [0.2, 0.6, 0.2], [0.7, 0.3, 0]]
    )
    found = pick_backgrounds(shares, range(6), 0, 2, 2)
    assert names(found, "with") == [0, 5]
    assert names(found, "against") == [2, 1]  # both have nothing of class 0; the one-sided vote comes first
    assert names(found, "neutral") == [3, 4]
    assert len({one.source for one in found}) == 6


def test_groups_shrink_with_the_classes():
    for count, expected in ((2, 0), (3, 3), (5, 5), (6, 6), (9, 9), (10, 10), (20, 10)):
        shares = np.stack([np.linspace(0, 1, count), np.linspace(1, 0, count)], axis=1)
        found = pick_backgrounds(shares, range(count), 0, 3, 4)
        assert len(found) == len({one.source for one in found}) == expected
        assert len(names(found, "with")) == len(names(found, "against")) == min(3, count // 3)


def test_classes_without_a_vote_are_not_asked_about():
    shares = np.vstack([TWO, [[np.nan, np.nan]]])
    assert pick_backgrounds(shares, range(10), 0, 3, 4) == pick_backgrounds(TWO, range(10), 0, 3, 4)


def test_halves_are_disjoint():
    labels = np.repeat([0, 1, 2, 3], [3, 4, 7, 1])
    ids = [f"{label}/{i}" for i, label in enumerate(labels)]
    choosing, held = halves(labels, ids, seed=0)
    assert (choosing ^ held).all()
    for label, first in ((0, 2), (1, 2), (2, 4), (3, 1)):
        assert (choosing & (labels == label)).sum() == first
    order = np.random.default_rng(0).permutation(len(ids))
    again, _ = halves(labels[order], [ids[i] for i in order], seed=0)
    np.testing.assert_array_equal(again, choosing[order])
    assert (halves(labels, ids, seed=1)[0] != choosing).any()


def test_bounds_are_those_of_wilson():
    votes = np.array([[2, 0], [18, 2], [0, 0], [1, 1], [2, 0]])
    low, high = bounds(votes)
    for row, (hits, misses) in enumerate(votes.tolist()):
        if hits + misses:
            expected = binomtest(hits, hits + misses).proportion_ci(0.9, "wilson")
            assert (low[row, 0], high[row, 0]) == pytest.approx((expected.low, expected.high), abs=1e-9)
            assert (low[row, 1], high[row, 1]) == pytest.approx((1 - expected.high, 1 - expected.low), abs=1e-9)
    assert np.isnan([low[2], high[2]]).all()


def test_many_images_go_before_an_extreme_share_of_few():
    votes = np.array([[2, 0], [18, 2], [0, 2], [3, 17], [1, 1], [10, 10], [1, 1]])
    ends = bounds(votes)
    raw, sure = (pick_backgrounds(votes / votes.sum(1, keepdims=True), range(7), 0, 1, 1, *of) for of in ((), (ends,)))
    assert [one.source for one in raw] == [0, 4, 2]
    assert [one.source for one in sure] == [1, 5, 3]


@pytest.fixture(scope="module")
def samples():
    pipeline = transforms(tiny_model().preprocessing, None)
    return {name: Samples(name, "val", tiny_source(n=n), pipeline, seed=0) for name, n in (("back", 12), ("over", 6))}


def maker(samples, **changes):
    options = {"seed": 0, "scale": 0.5, "repeats": 3, "limit": 1000} | changes
    return Maker(samples["back"], samples["over"], **options)


def test_every_overlay_on_every_image_at_its_place(samples):
    items = maker(samples).items(1, [1, 4], [0, 3, 5])
    assert len(items) == 3 * 2 * 3
    assert len({(item.overlay, item.background, item.repeat) for item in items}) == 18
    for item in items:
        draw = key("confusion", samples["over"].ids[item.overlay], item.repeat)
        expected = place_overlay(0, 1, samples["back"].ids[item.background], draw, 1, 32, 0.5)
        assert (item.top, item.left, item.height) == expected[1:] and item.width == 16
        assert item.overlay_class == samples["over"].labels[item.overlay]


def test_a_limit_takes_equally_many_of_each_overlay_and_only_adds(samples):
    whole = maker(samples).items(1, [1, 4], [0, 3, 5])
    for limit in (1, 4, 9, 17):
        some = maker(samples, limit=limit).items(1, [1, 4], [0, 3, 5])
        assert some == whole[:limit]
        counts = np.unique([item.overlay for item in some], return_counts=True)[1]
        assert counts.max() - counts.min() <= 1


def test_a_composite_does_not_depend_on_the_others(samples):
    def where(items):
        return {(item.overlay_id, item.background_id, item.repeat): item.box for item in items}

    whole, fewer = maker(samples).items(1, [1, 4], [0, 3, 5]), maker(samples, repeats=2).items(1, [4], [3])
    assert where(fewer).items() <= where(whole).items()
    assert where(maker(samples, seed=1).items(1, [4], [3])).items() != where(fewer).items()
    assert maker(samples).items(1, [], [0]) == []


def backgrounds(classes, each=10):
    return [Background(target, "with", source, 0.5, 0.5) for target in range(classes) for source in range(each)]


def test_todays_tasks_are_whole_and_many_classes_are_bounded():
    for classes in (2, 37, 50):
        picked = backgrounds(classes)
        assert within(picked, 60, 30_000, 0) == (picked, 60)
    for classes in (51, 350, 3000):  # 350 would be 210,000
        kept, limit = within(backgrounds(classes), 60, 30_000, 0)
        assert len(kept) == 10 * classes and len(kept) * limit <= 30_000 < len(kept) * (limit + 1)


@pytest.mark.parametrize("most", [1, 9, 10, 25, 99])
def test_more_pairs_than_composites_leave_out_whole_classes(most):
    picked = backgrounds(10)
    kept, limit = within(picked, 60, most, 3)
    assert limit == 1 and len(kept) == max(most // 10, 1) * 10
    assert kept == [one for one in picked if one in kept]
    more, _ = within(picked, 60, most + 10, 3)
    assert set(kept) <= set(more)
