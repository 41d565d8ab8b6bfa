"""Small data sets and pipelines for the data tests."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from transferkit.data.samples import Samples
from transferkit.data.sources import open_split
from transferkit.data.transforms import transforms
from transferkit.recipe.schema import Augmentation, Dataset

SIZE = 12


@pytest.fixture
def preprocessing():
    return SimpleNamespace(
        input_size=(SIZE, SIZE),
        mean=(0.5, 0.4, 0.3),
        std=(0.25, 0.2, 0.5),
        crop_pct=1.0,
        crop_mode="center",
        interpolation="bilinear",
        in_chans=3,
    )


@pytest.fixture
def make_samples(tmp_path, preprocessing):
    """Samples of random pictures with heavy augmentation."""

    def make(count=23, classes=3, *, name="toy", split="train", augmentation=True, **options):
        rng = np.random.default_rng(count)
        path = tmp_path / f"{name}-{count}.npz"
        labels = np.arange(count) % classes
        np.savez(path, x_train=rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8), y_train=labels)
        source = open_split(name, {name: Dataset(npz=str(path))}, "train")
        heavy = Augmentation(color_jitter=0.4, auto_augment="rand-m9-mstd0.5", random_erasing=0.5, vflip=0.5)
        pipeline = transforms(preprocessing, heavy if augmentation else None)
        options.setdefault("seed", 5)
        return Samples(name, split, source, pipeline, evaluation=transforms(preprocessing, None), **options)

    return make


@pytest.fixture
def class_folder(tmp_path):
    """A folder of train/ and val/ with the classes ant, bee, cat."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("ant", "bee", "cat"):
            folder = tmp_path / "animals" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "animals"
