"""The adapter: names, arguments, seeds. With a small stand-in for the library, and with the library where it is."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings

import numpy as np
import pytest
from PIL import Image
from transferkit_albumentations import compose
from transferkit_albumentations.augmentation import Albumentations

from transferkit.data.randomness import borrowed_rng
from transferkit.errors import InputError
from transferkit.testing import check_plugin

REAL = importlib.util.find_spec("albumentations") is not None


class ImageOnlyTransform:
    """What transforms of the stand-in have in common."""

    def __init__(self, p: float = 0.5, **unknown: object) -> None:
        if not 0 <= p <= 1:
            raise ValueError("p must be a probability")
        if unknown:
            warnings.warn(f"Argument(s) {list(unknown)} are not valid", stacklevel=2)
        self.p = p


class GaussNoise(ImageOnlyTransform):
    """Adds a number to every pixel."""

    def apply(self, image, rng):
        return image ^ rng.integers(0, 256, image.shape, dtype=np.uint8)


class Compose:
    """The library's, as far as it is used."""

    def __init__(self, transforms):
        self.transforms = transforms

    def set_random_state(self, random_generator, py_random):
        self.rng, self.random = random_generator, py_random

    def __call__(self, image):
        for one in self.transforms:
            if self.random.random() < one.p:
                image = one.apply(image, self.rng)
        return {"image": image}


@pytest.fixture(
    params=["stand-in", pytest.param("library", marks=pytest.mark.skipif(not REAL, reason="not installed"))]
)
def library(request, monkeypatch):
    if request.param == "stand-in":
        module = types.ModuleType("albumentations")
        module.__spec__ = importlib.util.spec_from_loader("albumentations", None)
        for one in (ImageOnlyTransform, GaussNoise, Compose):
            setattr(module, one.__name__, one)
        module.DualTransform = type("DualTransform", (), {})
        monkeypatch.setitem(sys.modules, "albumentations", module)
    return request.param


NOISE = [{"GaussNoise": {"p": 1.0}}]
GREY = Image.new("RGB", (16, 16), (128, 128, 128))


def changed(plugin, *key):
    return plugin.augment(GREY, borrowed_rng(*key)).tobytes()


def test_the_same_key_gives_the_same_image_and_another_one_another(library):
    plugin = Albumentations(NOISE)
    plugin.setup(None)
    first = changed(plugin, "seed", 0)
    assert first != GREY.tobytes() and changed(plugin, "seed", 1) != first
    assert changed(plugin, "seed", 0) == first
    other = Albumentations(NOISE)  # as in another worker
    other.setup(None)
    assert changed(other, "seed", 0) == first


def test_transforms_draw_apart_from_each_other(library):
    """Both with p = 1/2: all four outcomes occur, which one shared seed would not give."""
    plugin = Albumentations([{"GaussNoise": {"p": 0.5}}, {"GaussNoise": {"p": 0.5}}])
    plugin.setup(None)
    unchanged = sum(changed(plugin, index) == GREY.tobytes() for index in range(64))
    assert 6 <= unchanged <= 26  # a quarter is expected: binomial(64, 1/4) lies there with p > 0.999


@pytest.mark.parametrize(
    ("transforms", "said"),
    [
        ([{"GaussNoize": {}}], 'no transform of images called "GaussNoize"'),
        ([{"os": {}}], 'no transform of images called "os"'),
        ([{"Compose": {"transforms": []}}], 'no transform of images called "Compose"'),
        ([{"GaussNoise": {"p": 3}}], "GaussNoise: "),
        ([{"GaussNoise": {"strength_of_it": 3}}], "GaussNoise: .*strength_of_it"),
        ([{"GaussNoise": {}, "Blur": {}}], "each transform is one"),
    ],
)
def test_the_library_refuses(library, transforms, said):
    with pytest.raises(InputError, match=said):
        compose(transforms)


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    monkeypatch.setattr("transferkit_albumentations.augmentation.find_spec", lambda name: None)
    assert list(Albumentations(NOISE).check(None)) == [
        'albumentations is not installed: pip install "transferkit[albumentations]"'
    ]
    with pytest.raises(InputError, match=r"pip install \"transferkit\[albumentations\]\""):
        compose(NOISE)


def test_the_promises_of_a_plugin(library):
    check_plugin(Albumentations, transforms=NOISE)
