"""The drawn world: a function of its key, with its classes told apart and the planted ones absent."""

from __future__ import annotations

import numpy as np
import pytest

from transferkit.data import world
from transferkit.data.sources import open_split
from transferkit.recipe.schema import Dataset

KINDS = {"source": world.SOURCE_CLASSES, "target": world.TARGET_CLASSES}


def test_the_classes():
    assert len(world.SOURCE_CLASSES) == 12
    assert list(world.SOURCE_CLASSES) == sorted(world.SOURCE_CLASSES)
    assert set(world.SHARED) | set(world.SOURCE_ONLY) == set(world.SOURCE_CLASSES)
    assert not set(world.SHARED) & set(world.SOURCE_ONLY)
    assert set(world.TEXTURES) < set(world.SOURCE_ONLY)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_pictures_depend_on_their_key_alone(kind, name):
    first = world.draw(kind, "train", name, 0, 32)
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    assert np.array_equal(first, world.draw(kind, "train", name, 0, 32))
    others = [world.draw(kind, "val", name, 0, 32), world.draw(kind, "train", name, 1, 32)]
    assert all(np.abs(first.astype(int) - other).mean() > 5 for other in others)
    assert first.std() > 10


def test_sizes_and_counts():
    datasets = {"w": Dataset.model_validate({"world": {"kind": "source", "train": 2, "val": 1, "size": 40}})}
    train, val = open_split("w", datasets, "train"), open_split("w", datasets, "val")
    assert (len(train), len(val)) == (24, 12)
    assert train.image(0).size == (40, 40)
    assert train.image(5) is train.image(5)
    assert train.classes == list(world.SOURCE_CLASSES)
    assert train.fingerprint() != val.fingerprint()


def test_a_linear_look_at_textures_tells_them_from_shapes():
    """Textures fill the picture with edges, shapes do not: the share of strong gradients separates them."""

    def edges(name, index):
        grey = world.draw("source", "train", name, index, 48).astype(float).mean(axis=2)
        steps = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
        return np.mean(steps > 0.25 * (np.percentile(grey, 95) - np.percentile(grey, 5)))

    textures = [edges(name, i) for name in world.TEXTURES for i in range(10)]
    shapes = [edges(name, i) for name in world.SHAPES for i in range(10)]
    assert np.median(textures) > 2 * np.median(shapes)
