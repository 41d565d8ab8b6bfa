"""The two halves of a pipeline against timm's own whole, and against numbers worked out by hand."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from transferkit.data.images import Unfit
from transferkit.data.randomness import seeded
from transferkit.data.transforms import transforms
from transferkit.errors import InputError
from transferkit.recipe.schema import Augmentation

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def timms(preprocessing, **options):
    return create_transform(
        input_size=(3, *preprocessing.input_size),
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
        **options,
    )


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(12, 12), (8, 14)])
def test_evaluation_is_timms(preprocessing, crop_mode, size):
    preprocessing.input_size, preprocessing.crop_mode, preprocessing.crop_pct = size, crop_mode, 0.875
    pipeline = transforms(preprocessing, None)
    expected = timms(preprocessing, crop_pct=0.875, crop_mode=crop_mode)(PICTURE)
    assert torch.equal(pipeline(PICTURE), expected)
    assert pipeline(PICTURE).shape == (3, *size)
    assert pipeline.geometric(PICTURE).size == size[::-1]
    assert not pipeline.random


def test_normalisation_by_hand(preprocessing):
    image = transforms(preprocessing, None)(Image.new("RGB", (12, 12), (255, 0, 51)))
    assert torch.allclose(image[:, 0, 0], torch.tensor([(1 - 0.5) / 0.25, (0 - 0.4) / 0.2, (0.2 - 0.3) / 0.5]))


@pytest.mark.parametrize("size", [(12, 12), (8, 14)])
def test_training_is_timms_with_the_same_seed(preprocessing, size):
    preprocessing.input_size = size
    augmentation = Augmentation(
        scale=(0.5, 1), ratio=(0.8, 1.2), vflip=0.5, auto_augment="rand-m9-mstd0.5", random_erasing=0.9
    )
    pipeline = transforms(preprocessing, augmentation)
    whole = timms(
        preprocessing,
        is_training=True,
        scale=(0.5, 1),
        ratio=(0.8, 1.2),
        vflip=0.5,
        color_jitter=None,
        auto_augment="rand-m9-mstd0.5",
        re_prob=0.9,
    )
    for number in range(5):
        with seeded(number):
            expected = whole(PICTURE)
        with seeded(number):
            assert torch.equal(pipeline(PICTURE), expected)
    assert pipeline.random


def test_none_trains_on_the_evaluation_transform(preprocessing):
    pipeline = transforms(preprocessing, Augmentation(none=True))
    assert not pipeline.random
    assert torch.equal(pipeline(PICTURE), transforms(preprocessing, None)(PICTURE))


def test_no_jitter_draws_no_numbers(preprocessing):
    pipeline = transforms(preprocessing, Augmentation(hflip=0.0))
    names = [type(step).__name__ for step in pipeline.geometric.transforms]
    assert names == ["RandomResizedCropAndInterpolation"]


@pytest.mark.parametrize("augmentation", [None, Augmentation(auto_augment="rand-m9-mstd0.5", random_erasing=0.5)])
@pytest.mark.parametrize("mean", [(0.5,), (0.4, 0.5, 0.6)])
def test_one_channel(preprocessing, augmentation, mean):
    preprocessing.in_chans, preprocessing.mean, preprocessing.std = 1, mean, (0.25,) * len(mean)
    pipeline = transforms(preprocessing, augmentation)
    random.seed(0)
    assert pipeline(PICTURE).shape == (1, 12, 12)
    assert pipeline.geometric(PICTURE).mode == "RGB"
    if augmentation is None:
        assert torch.allclose(pipeline(Image.new("RGB", (12, 12), "white")), torch.full((1, 12, 12), 2.0))


def test_what_is_refused(preprocessing):
    with pytest.raises(InputError, match="timm does not know this policy"):
        transforms(preprocessing, Augmentation(auto_augment="nonsense"))
    preprocessing.in_chans = 4
    with pytest.raises(InputError, match="in_chans=4"):
        transforms(preprocessing, None)


@pytest.mark.parametrize("size", [(65535, 1), (1, 65535), (1, 1_500_000)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_a_strip_is_refused_only_where_resizing_would_blow_it_up(preprocessing, size, crop_mode):
    preprocessing.input_size, preprocessing.crop_mode, preprocessing.crop_pct = (224, 224), crop_mode, 0.875
    pipeline, picture = transforms(preprocessing, None), Image.new("RGB", size)
    if crop_mode != "center":
        assert pipeline(picture).shape == (3, 224, 224)
        pipeline.refuse(size)
        return
    for call in (lambda: pipeline(picture), lambda: pipeline.refuse(size)):
        with pytest.raises(Unfit, match="resized for the model it would have") as caught:
            call()
        assert caught.value.kind == "too_many_pixels"


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (4, 1), (65535, 1), (1, 1_500_000)])
def test_a_random_crop_always_has_pixels(preprocessing, size):
    preprocessing.input_size = (16, 16)
    pipeline = transforms(preprocessing, Augmentation(scale=(0, 1), color_jitter=0))
    for number in range(20):
        with seeded(number):
            assert pipeline.geometric(Image.new("RGB", size, (9, 8, 7))).getpixel((8, 8)) == (9, 8, 7)


def test_the_size_after_resizing_is_torchvisions(preprocessing):
    preprocessing.crop_pct = 0.875
    step = transforms(preprocessing, None).geometric.transforms[0]
    for size in [(20, 30), (31, 17), (5, 5), (1, 99), (3, 1000)]:
        assert step.resized(size) == step(Image.new("RGB", size)).size
