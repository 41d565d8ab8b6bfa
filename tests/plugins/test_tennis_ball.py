"""The ball: how it looks, where it lies, and what it attracts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transferkit_tennis_ball import attraction_rate, draw_ball

from transferkit.errors import InputError
from transferkit.plugins.options import path_options
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin

from .corruption_world import make, pixels, samples

NAME = "tennis_ball"


@pytest.mark.parametrize("size", [1, 4, 7, 28])
def test_the_ball_is_a_disc_with_a_smooth_edge(size):
    ball = np.asarray(draw_ball(size)).astype(float)
    assert ball.shape == (size, size, 4)
    alpha = ball[..., 3] / 255
    assert alpha.sum() == pytest.approx(np.pi / 4 * size**2, rel=0.02)
    assert np.array_equal(alpha, alpha[::-1]) and np.array_equal(alpha, alpha[:, ::-1])
    # the share of a pixel in the disc, by a finer grid of points than the drawing's
    points = (np.arange(size * 50) + 0.5) / 50 - size / 2
    inside = (points[:, None] ** 2 + points[None] ** 2 <= (size / 2) ** 2).reshape(size, 50, size, 50).mean((1, 3))
    assert np.abs(alpha - inside).max() < 0.04


def test_the_ball_is_yellow_green_with_a_white_seam():
    ball = np.asarray(draw_ball(64))
    assert ball[32, 32].tolist() == [204, 255, 0, 255]
    seam = (ball[..., :3] == 255).all(axis=2) & (ball[..., 3] == 255)
    assert 0.02 < seam.mean() < 0.2 and seam[:, :32].any() and seam[:, 32:].any()


def test_a_ball_has_a_size():
    with pytest.raises(ValueError, match="at least 1 pixel"):
        draw_ball(0)


@pytest.mark.parametrize("split", ["train", "val"])
def test_pixels_after_the_whole_transform(split):
    clean, marked = samples(split=split), samples((NAME, {}), split=split)
    ball = np.asarray(draw_ball(4)).astype(float)
    alpha = ball[..., 3:] / 255
    places = {row["id"]: (row["x"], row["y"], row["size"]) for row in marked.manifest_rows()}
    for index in range(0, 40, 9):
        before, after = pixels(clean.get(index, 1)[0]), pixels(marked.get(index, 1)[0])
        x, y, size = places[marked.ids[index]]
        inside = np.zeros((32, 32), bool)
        inside[y : y + size, x : x + size] = True
        expected = alpha * ball[..., :3] / 255 + (1 - alpha) * before[y : y + 4, x : x + 4]
        assert size == 4 and np.abs(after[inside] - expected.reshape(-1, 3)).max() < 1.01 / 255
        assert np.array_equal(after[~inside], before[~inside])


def test_opaque_leaves_no_half_transparent_pixel():
    found = np.asarray(make(NAME, opaque=True, size=6).corrupt(Image.new("RGB", (6, 6)), np.random.default_rng(0)))
    there = np.asarray(draw_ball(6))[..., 3] >= 128
    assert np.array_equal(found[there], np.asarray(draw_ball(6))[..., :3][there])
    assert not found[~there].any() and (~there).sum() >= 4


def test_all_841_places_are_equally_likely():
    rng, ball = np.random.default_rng(0), make(NAME)
    found = [ball.manifest((32, 32), rng) for _ in range(841 * 20)]
    counts = np.zeros((29, 29))
    for row in found:
        counts[row["y"], row["x"]] += 1
    assert counts.min() > 0
    assert ((counts - 20) ** 2 / 20).sum() < 972  # chi-squared, 840 degrees of freedom, p = 0.001


def test_images_that_are_not_square_are_used_to_their_edges():
    rng, ball = np.random.default_rng(0), make(NAME, size=3)
    rows = [ball.manifest((5, 4), rng) for _ in range(200)]
    assert {(row["x"], row["y"]) for row in rows} == {(x, y) for x in (0, 1, 2) for y in (0, 1)}


def test_only_some_classes_and_a_share_of_them():
    marked = samples((NAME, {"classes": ["c2"], "ratio": 0.4}))
    chosen = np.flatnonzero(marked.planted[NAME])
    assert set(marked.labels[chosen]) == {2} and len(chosen) == 4
    assert samples((NAME, {})).planted[NAME].all()


def test_a_sprite_of_ones_own(tmp_path):
    Image.new("RGBA", (9, 9), (0, 0, 255, 255)).save(tmp_path / "blue.png")
    found = np.asarray(
        make(NAME, sprite=str(tmp_path / "blue.png"), size=2).corrupt(
            Image.new("RGB", (8, 8)), np.random.default_rng(1)
        )
    )
    assert (found == [0, 0, 255]).all(axis=2).sum() == 4 and found.any(axis=2).sum() == 4
    assert path_options(installed().get("corruption", NAME).options) == ["sprite"]


def test_wrong_input_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"the picture .* does not exist"):
        make(NAME, sprite=str(tmp_path / "gone.png"))
    with pytest.raises(InputError, match="a ball of 33 pixels does not fit in an image of 32 x 32"):
        samples((NAME, {"size": 33})).get(0, 0)
    with pytest.raises(InputError, match=r'no class called "c22"; did you mean "c2"\?'):
        samples((NAME, {"classes": ["c22"]}))


def test_attraction_rate_by_hand():
    assert attraction_rate(torch.tensor([4, 1, 4, 4]), 4) == 0.75
    assert attraction_rate([0, 1], 2) == 0.0
    assert np.isnan(attraction_rate(torch.tensor([]), 0))
    with pytest.raises(ValueError, match=r"shape \(n,\)"):
        attraction_rate(torch.zeros(2, 3), 0)


@pytest.mark.parametrize("options", [{}, {"opaque": True, "ratio": 0.5, "size": 3}])
def test_keeps_the_promises_of_a_plugin(options):
    check_plugin(installed().get("corruption", NAME).cls, **options)
