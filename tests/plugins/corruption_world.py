"""Small images, pipelines and corruptions made from options as a recipe makes them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from transferkit.data.contents import Contents, Source
from transferkit.data.planting import corruptions
from transferkit.data.samples import Samples
from transferkit.data.transforms import transforms
from transferkit.plugins.hooks import Plugin, RunPlugins
from transferkit.plugins.registry import installed
from transferkit.recipe.schema import Augmentation

SIZE = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAVY = Augmentation(scale=(0.3, 1.0), hflip=0.5, color_jitter=0.4)


def preprocessing(size=SIZE):
    return SimpleNamespace(
        input_size=(size, size),
        mean=MEAN,
        std=STD,
        crop_pct=0.875,
        crop_mode="center",
        interpolation="bicubic",
        in_chans=3,
    )


def make(name, **options):
    """The plugin's instance as a recipe would make it."""
    return installed().get("corruption", name).create(options)


def planted(*uses, split="train"):
    """[(name, options), …] in recipe order."""
    plugins = []
    for name, options in uses:
        component = installed().get("corruption", name)
        instance_name = options.pop("name", name)
        plugins.append(Plugin("corruption", instance_name, component.create(options), component))
    return corruptions(RunPlugins(plugins), split)


def source(count=40, classes=4, size=40):
    """Random pictures in memory; the classes are called c0, c1, …"""
    from PIL import Image

    pixels = np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    names, labels = [f"c{i}" for i in range(classes)], np.arange(count) % classes
    ids = [f"{i:03d}" for i in range(count)]
    contents = Contents(names, labels, ids, lambda i: Image.fromarray(pixels[i]), pixels.tobytes)
    return Source(names, labels, ids, contents, np.arange(count))


def samples(*uses, count=40, classes=4, split="train", seed=3, size=SIZE, name="toy", augmentation=None, **options):
    augmentation = augmentation if augmentation is not None else (HEAVY if split == "train" else None)
    prepared = preprocessing(size)
    return Samples(
        name,
        split,
        source(count, classes),
        transforms(prepared, augmentation),
        seed=seed,
        corruptions=planted(*uses, split=split),
        evaluation=transforms(prepared, None),
        **options,
    )


def pixels(image):
    """(C, H, W) normalised -> (H, W, C) between 0 and 1, in float64."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    return (image.double() * std + mean).permute(1, 2, 0).numpy()
