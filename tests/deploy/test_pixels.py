"""What a graph makes of pixels is, to the bit, what Pillow and timm's transform make of the picture."""

from __future__ import annotations

import itertools

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from transferkit.deploy import pixels
from transferkit.deploy.pixels import PixelIntake
from transferkit.errors import InputError
from transferkit.model.preprocessing import Preprocess, Preprocessing

MODES = ("center", "squash", "border")


def preprocessing(size=(32, 32), crop_pct=0.875, mode="center", interpolation="bicubic", channels=3):
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if channels == 3 else ((0.45,), (0.2,))
    return Preprocessing(size, mean, std, crop_pct, mode, interpolation, channels)


def picture(rng, width, height):
    """Noise, black and white noise, or a gradient that wraps around: sums far beyond white and below black."""
    kind = rng.integers(3)
    if kind == 2:
        ramp = np.add.outer(np.arange(height) * rng.integers(1, 9), np.arange(width) * rng.integers(1, 9))
        return ((ramp[..., None] + np.array([0, 50, 90])) % 256).astype(np.uint8)
    noise = rng.integers(0, 256, (height, width, 3))
    return (noise if kind == 0 else np.where(noise > 127, 255, 0)).astype(np.uint8)


def same(given, wanted):
    seen = PixelIntake(given)(torch.from_numpy(wanted)[None])[0]
    return torch.equal(seen, Preprocess(given)(Image.fromarray(wanted)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", pixels.FILTERS)
def test_bits_equal_for_every_transform_and_any_size(mode, interpolation):
    rng = np.random.default_rng([MODES.index(mode), list(pixels.FILTERS).index(interpolation)])
    for crop_pct, size, channels in itertools.product((1.0, 0.875, 0.95), ((32, 32), (24, 40), (33, 33)), (3, 1)):
        given = preprocessing(size, crop_pct, mode, interpolation, channels)
        for _ in range(2):
            width, height = (int(side) for side in np.exp(rng.uniform(0, np.log(300), 2)).round())
            assert same(given, picture(rng, width, height)), (given, width, height)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (4, 4), (32, 36), (36, 36), (37, 37), (2, 450), (700, 3)])
def test_bits_equal_at_the_edges(mode, size):
    assert same(preprocessing(mode=mode), picture(np.random.default_rng(size), *size))


def test_flat_pictures_stay_flat():
    for level in (0, 1, 127, 254, 255):
        levels = PixelIntake(preprocessing()).levels(torch.full((1, 61, 47, 3), level, dtype=torch.uint8))
        assert levels.unique().tolist() == [level]


def test_the_order_of_passes_is_that_of_this_pillow_and_of_others(monkeypatch):
    def first(rows, columns, tall, wide):
        return bool(pixels.rows_first(*map(torch.tensor, (rows, columns, tall, wide))))

    monkeypatch.setattr(PIL, "__version__", "13.0.0")
    assert [first(100, 64, 32, 32), first(64, 64, 32, 32), first(20, 90, 32, 99)] == [True, False, False]
    monkeypatch.setattr(PIL, "__version__", "12.2.0")
    assert [first(100, 64, 32, 32), first(6401, 64, 32, 32), first(6400, 64, 32, 32)] == [False, True, False]


def test_what_no_graph_can_do_is_refused():
    with pytest.raises(InputError, match=r'interpolation "nearest" cannot be in a graph .* export with --input floats'):
        PixelIntake(preprocessing(interpolation="nearest"))
