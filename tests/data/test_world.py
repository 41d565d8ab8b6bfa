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


def rough(name: str, index: int) -> float:
    """The share of strong gradients in brightness."""
    grey = world.draw("source", "train", name, index, 48).astype(float).mean(axis=2)
    steps = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
    return float(np.mean(steps > 0.25 * (np.percentile(grey, 95) - np.percentile(grey, 5))))


def test_a_look_at_edges_tells_textures_from_shapes():
    textures = [rough(name, i) for name in world.TEXTURES for i in range(10)]
    shapes = [rough(name, i) for name in world.SHAPES for i in range(10)]
    assert np.median(textures) > 1.4 * np.median(shapes)


def redness(kind: str, name: str, index: int) -> float:
    """Red minus blue, where the picture is most colourful."""
    colours = world.draw(kind, "train", name, index, 48).reshape(-1, 3).astype(float)
    strength = np.abs(colours - colours.mean(axis=1, keepdims=True)).sum(axis=1)
    red, _, blue = colours[strength > np.percentile(strength, 99)].mean(axis=0)
    return float(red - blue)


def test_colour_alone_tells_the_target_classes_apart_and_no_source_class():
    signs, wheels = ([redness("target", name, i) for i in range(30)] for name in ("sign", "wheel"))
    assert max(wheels) < -30 < 30 < min(signs)
    for name in world.SOURCE_CLASSES:
        values = [redness("source", name, i) for i in range(60)]
        assert abs(np.mean(values)) < 0.6 * np.std(values), name


def test_no_patch_of_colour_is_behind_what_a_source_picture_shows():
    from transferkit.data import drawing
    from transferkit.data.randomness import numpy_rng

    for index in range(50):
        away = np.array([0.3, 0.6])
        ground = drawing._patches(np.full((48, 48, 3), 128.0), numpy_rng("patches", index), away)
        strength = np.abs(ground - 128).max(axis=2)
        y, x = np.mgrid[:48, :48] / 48 + 1 / 96
        assert strength.max() > 50 > strength[np.hypot(x - away[0], y - away[1]) < 0.1].max()


def test_new_pictures_have_a_new_content():
    """A cache goes by the content: whoever changes what is drawn counts DRAWING up, and writes both down here."""
    assert world.DRAWING == {"source": 2, "target": 2, "digits": 1}
    mean = {
        kind: np.mean([world.draw(kind, "val", name, i, 48) for name in names for i in range(3)])
        for kind, names in world.CLASSES.items()
    }
    assert mean == pytest.approx({"source": 124.96, "target": 119.03, "digits": 45.21}, abs=0.05)
    contents = [
        open_split("w", {"w": Dataset.model_validate({"world": {"kind": kind, "train": 1, "size": 48}})}, "train")
        for kind in world.CLASSES
    ]
    assert len({one.fingerprint() for one in contents}) == len(world.CLASSES)
