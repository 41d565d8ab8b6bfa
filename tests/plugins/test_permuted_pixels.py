"""Permuted pixels: one permutation for all, whatever the image, the split, the seed or the order."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from transferkit_permuted_pixels import permutation
from transferkit_permuted_pixels.corruption import PermutedPixels

from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin


def noise(width=5, height=4, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_permutation_of_all_places():
    order = permutation(4, 6, 3)
    assert sorted(order.tolist()) == list(range(24))
    assert order.tolist() != list(range(24))
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 1


def test_a_function_of_size_and_seed():
    assert np.array_equal(permutation(28, 28), permutation(28, 28, 0))
    assert not np.array_equal(permutation(28, 28, 0), permutation(28, 28, 1))
    assert not np.array_equal(permutation(3, 4, 0), permutation(4, 3, 0))
    assert permutation(3, 4, 0).tolist() == [9, 8, 5, 10, 7, 4, 1, 2, 6, 3, 11, 0]  # never another one


def test_pixels_move_and_colours_stay_together():
    image = noise()
    order = permutation(4, 5, 7)
    before = list(image.get_flattened_data())
    after = list(PermutedPixels(permutation_seed=7).corrupt(image).get_flattened_data())
    assert after == [before[index] for index in order]
    assert list(image.get_flattened_data()) == before


def test_it_can_be_undone():
    image = noise()
    moved = np.asarray(PermutedPixels().corrupt(image)).reshape(-1, 3)
    assert np.array_equal(moved[np.argsort(permutation(4, 5))].reshape(4, 5, 3), np.asarray(image))


def test_the_same_places_in_every_image_split_and_run():
    """The difference of two images moves like an image."""
    from transferkit.data.planting import corruptions
    from transferkit.data.samples import Samples
    from transferkit.data.transforms import transforms
    from transferkit.plugins.hooks import Plugin, RunPlugins
    from transferkit.testing.tiny import tiny_model, tiny_source

    component = installed().get("corruption", "permuted_pixels")
    plugins = RunPlugins([Plugin("corruption", "permuted_pixels", component.create({}), component)])
    pipeline = transforms(tiny_model().preprocessing, None)
    order = permutation(32, 32).copy()
    for seed, split in ((0, "train"), (0, "val"), (5, "train")):
        plain, moved = (
            Samples("tiny", split, tiny_source(), pipeline, seed=seed, corruptions=planted)
            for planted in ((), corruptions(plugins, split))
        )
        for index in (0, 5):
            image, permuted = plain.get(index, 0)[0], moved.get(index, 3)[0]
            assert np.array_equal(image.reshape(3, -1)[:, order], permuted.reshape(3, -1))


def test_options_and_promises():
    component = installed().get("corruption", "permuted_pixels")
    assert component.create({}) == PermutedPixels(0)
    with pytest.raises(ValidationError):
        component.create({"permutation_seed": -1})
    with pytest.raises(ValidationError):
        component.create({"seed": 1})
    check_plugin(PermutedPixels, permutation_seed=4)
