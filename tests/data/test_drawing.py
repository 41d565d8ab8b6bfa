"""Drawn digits: a function of their key, grey, inside the picture, told apart by a simple classifier."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from transferkit.data import drawing, world
from transferkit.data.randomness import numpy_rng
from transferkit.data.sources import open_split
from transferkit.errors import InputError
from transferkit.recipe.schema import Dataset


def test_a_data_set_of_ten_classes():
    datasets = {"d": Dataset.model_validate({"world": {"kind": "digits", "train": 3, "val": 1, "size": 28}})}
    train, val = open_split("d", datasets, "train"), open_split("d", datasets, "val")
    assert train.classes == list("0123456789") == list(world.CLASSES["digits"])
    assert (len(train), len(val)) == (30, 10)
    assert train.image(0).size == (28, 28) and train.image(0).mode == "RGB"
    assert train.ids[3] == "1/0000" and open_split("d", datasets, "test") is None
    assert train.fingerprint() != val.fingerprint()


@pytest.mark.parametrize("size", [16, 28, 64])
@pytest.mark.parametrize("name", world.CLASSES["digits"])
def test_grey_and_a_function_of_the_key(name, size):
    first = world.draw("digits", "train", name, 0, size)
    assert first.shape == (size, size, 3) and first.dtype == np.uint8
    assert np.array_equal(first[..., 0], first[..., 1]) and np.array_equal(first[..., 0], first[..., 2])
    assert np.array_equal(first, world.draw("digits", "train", name, 0, size))
    for other in (world.draw("digits", "val", name, 0, size), world.draw("digits", "train", name, 1, size)):
        assert np.abs(first.astype(int) - other).mean() > 5


@pytest.mark.parametrize("name", world.CLASSES["digits"])
def test_the_whole_figure_is_inside(name, monkeypatch):
    monkeypatch.setattr(drawing, "DIGIT_NOISE", (0.0, 0.0))
    for index in range(60):
        picture = drawing.digit(numpy_rng("inside", name, index), 28, name)[..., 0]
        ground = picture[0, 0]
        ink = picture > ground + 40
        assert ink.mean() > 0.03
        assert not ink[[0, -1]].any() and not ink[:, [0, -1]].any(), index


def test_a_linear_classifier_tells_them_apart_on_new_ones():
    def pictures(split, count):
        rows = [
            (world.draw("digits", split, n, i, 20)[..., 0], int(n))
            for n in world.CLASSES["digits"]
            for i in range(count)
        ]
        return np.array([row[0].ravel() for row in rows]) / 255, np.array([row[1] for row in rows])

    (x, y), (new, truth) = pictures("train", 60), pictures("val", 20)
    centred = x - x.mean(0)
    weight = np.linalg.solve(centred.T @ centred + 10 * np.eye(400), centred.T @ np.eye(10)[y])
    predicted = ((new - x.mean(0)) @ weight).argmax(axis=1)
    assert (predicted == truth).mean() > 0.7


def test_a_pillow_without_its_font_engine_is_named(monkeypatch):
    def missing(size=None):
        raise ImportError("The _imagingft C module is not installed")

    drawing._font.cache_clear()
    monkeypatch.setattr(ImageFont, "load_default", missing)
    with pytest.raises(InputError, match="Pillow's font engine, which is missing"):
        world.draw("digits", "train", "3", 0, 28)
    drawing._font.cache_clear()
