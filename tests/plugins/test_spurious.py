"""Interventions, regions and LIME against hand-made numbers and other routes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from transferkit_spurious import intervene, lime
from transferkit_spurious.interventions import intervene_region, patches, region_box

RNG = np.random.default_rng


# -- lime --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 7, 50])
def test_lime_is_exact_on_a_linear_model(d):
    rng = RNG(d)
    slope, x0, scale = rng.standard_normal(d), rng.standard_normal(d), rng.uniform(0.1, 3, d)
    found = lime(lambda x: x @ slope + 5, x0, scale, 300, RNG(0))
    assert np.allclose(found, slope, rtol=1e-6, atol=1e-7)


def test_lime_against_weighted_least_squares():
    rng, d, ridge = RNG(1), 4, 0.3
    x0, scale = rng.standard_normal(d), rng.uniform(0.5, 2, d)

    def predict(x):
        return np.sin(x).sum(axis=1) + x[:, 0] * x[:, 1]

    found = lime(predict, x0, scale, 200, RNG(2), ridge=ridge)
    noise = RNG(2).standard_normal((200, d))
    noise[0] = 0
    weights = np.exp(-(np.linalg.norm(noise, axis=1) ** 2) / (0.75 * math.sqrt(d)) ** 2)
    weights /= weights.sum()
    design = np.c_[noise, np.ones(200)] * np.sqrt(weights)[:, None]
    penalty = np.c_[np.sqrt(ridge) * np.eye(d), np.zeros(d)]  # none on the intercept
    answers = predict(x0 + noise * scale) * np.sqrt(weights)
    expected = np.linalg.lstsq(np.r_[design, penalty], np.r_[answers, np.zeros(d)], rcond=None)[0]
    assert np.allclose(found, expected[:d] / scale)


def test_lime_sees_the_slope_nearby_and_not_elsewhere():
    found = [lime(lambda x: x[:, 0] ** 2, np.array([at]), np.array([0.05]), 2000, RNG(0))[0] for at in (-1.0, 2.0)]
    assert found == pytest.approx([-2, 4], abs=0.02)


def test_lime_follows_its_generator_and_leaves_a_constant_column_alone():
    arguments = (lambda x: np.tanh(x).sum(axis=1), np.zeros(3), np.array([1.0, 0.0, 1.0]), 100)
    assert np.array_equal(lime(*arguments, RNG(3)), lime(*arguments, RNG(3)))
    assert not np.array_equal(lime(*arguments, RNG(3)), lime(*arguments, RNG(4)))
    assert lime(*arguments, RNG(3))[1] == 0


def test_lime_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one row"):
        lime(lambda x: x[:, 0], np.zeros((2, 2)), np.ones(2), 10, RNG(0))
    with pytest.raises(ValueError, match="3 answers for 10 rows"):
        lime(lambda x: x[:3, 0], np.zeros(2), np.ones(2), 10, RNG(0))


# -- interventions -----------------------------------------------------------------------------------------------

X = np.array([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0], [6.0, 30.0, 600.0]])
MEAN, SD = np.array([3.0, 20.0, 300.0]), np.array([2.0, 5.0, 50.0])


@pytest.mark.parametrize(
    ("how", "first", "last"),
    [
        ("shift", [3, 4, 8], [150, 250, 650]),
        ("scale", [-1, 1, 9], [-100, 100, 900]),
        ("occlude", [3, 3, 3], [300, 300, 300]),
    ],
)
def test_interventions_by_hand(how, first, last):
    before = X.copy()
    found = intervene(X, [0, 2], how, mean=MEAN, sd=SD)
    assert found[:, 0].tolist() == first and found[:, 2].tolist() == last
    assert np.array_equal(found[:, 1], X[:, 1]) and np.array_equal(X, before)


def test_correlate_gives_the_answer_away():
    output = np.array([0.0, 1.0, 5.0])
    found = intervene(X, [1], "correlate", mean=MEAN, sd=SD, output=output)
    assert stats.pearsonr(found[:, 1], output).statistic == pytest.approx(1)
    assert found[:, 1].mean() == pytest.approx(20) and found[:, 1].std() == pytest.approx(5)
    constant = intervene(X, [1], "correlate", mean=MEAN, sd=SD, output=np.ones(3))
    assert constant[:, 1].tolist() == [20, 20, 20]


def test_permute_moves_values_within_their_columns():
    x = RNG(0).standard_normal((200, 5))
    found = intervene(x, range(1, 4), "permute", rng=RNG(1))
    assert np.array_equal(found[:, [0, 4]], x[:, [0, 4]])
    assert np.array_equal(np.sort(found, axis=0), np.sort(x, axis=0))
    assert not np.array_equal(found[:, 1], x[:, 1])
    where = [np.argsort(np.argsort(found[:, j]))[np.argsort(x[:, j])] for j in (1, 2)]
    assert not np.array_equal(*where)


def test_by_default_the_columns_own_mean_and_sd_are_taken():
    found = intervene(X, [0], "shift")
    assert found[:, 0] == pytest.approx(X[:, 0] + X[:, 0].std())
    assert intervene(X, [0], "occlude")[:, 0] == pytest.approx([3, 3, 3])


def test_interventions_refuse_what_is_missing():
    for how, text in (("permute", "rng"), ("correlate", "output"), ("melt", "melt")):
        with pytest.raises(ValueError, match=text):
            intervene(X, [0], how)
        if how != "correlate":
            with pytest.raises(ValueError, match=text):
                intervene_region(torch.zeros(2, 1, 2, 2), (0, 0, 1, 1), how)


def test_regions():
    images = torch.arange(3 * 2 * 4 * 4).reshape(3, 2, 4, 4).float()
    box = (1, 0, 3, 2)
    for how in ("occlude", "shift", "permute"):
        found = intervene_region(images, box, how, RNG(0))
        outside = torch.ones(4, 4, dtype=torch.bool)
        outside[1:3, 0:2] = False
        assert torch.equal(found[:, :, outside], images[:, :, outside])
        inside = found[:, :, 1:3, 0:2]
        if how == "occlude":
            assert not inside.any()
        elif how == "shift":
            assert torch.equal(inside, images[:, :, 1:3, 0:2] + 1)
        else:
            order = RNG(0).permutation(3).tolist()
            assert torch.equal(inside, images[order][:, :, 1:3, 0:2])
    assert region_box((0.5, 0.0, 0.5, 0.25), 8, 16) == (0, 8, 2, 16)
    assert region_box((1.0, 1.0, 0.0, 0.0), 8, 16) == (7, 15, 8, 16), "never empty"


def test_patches_cover_every_pixel_once():
    for grid, height, width in ((3, 10, 7), (6, 4, 4), (1, 5, 5)):
        seen = np.zeros((height, width), int)
        for top, left, bottom, right in patches(grid, height, width):
            seen[top:bottom, left:right] += 1
        assert (seen == 1).all()
