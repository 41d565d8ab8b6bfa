"""Drawn pictures with planted defects, and features that tell the drawn classes well, as a good backbone's would."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageEnhance

from transferkit.data import world
from transferkit.testing import colour_model

SIDE = 64


@cache
def drawn(kind, each, split="train"):
    """(n, 64, 64, 3) pictures and (n,) labels."""
    classes = world.CLASSES[kind]
    pictures = [world.draw(kind, split, name, i, SIDE) for name in classes for i in range(each)]
    return np.stack(pictures), np.repeat(np.arange(len(classes)), each)


@cache
def backbone():
    """A model whose 32 features are mean rectified colour differences."""
    channels = np.random.default_rng(0).normal(size=(32, 3))
    channels -= 0.9 * channels.mean(axis=1, keepdims=True)
    return colour_model(["wheel", "sign"], np.eye(2, 32), channels=channels, size=SIDE, cells=16)


def features(pictures):
    """(n, 64, 64, 3) -> (n, 32)."""
    with torch.no_grad():
        return backbone()(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255).features.numpy()


def small(pictures):
    """(n, 32, 32, 3)."""
    return np.stack([np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BOX)) for one in pictures])


def flipped(labels, seed, share=0.05):
    """Labels of which `share` are another class, and which."""
    rng, classes = np.random.default_rng(seed), int(labels.max()) + 1
    wrong = np.zeros(len(labels), bool)
    wrong[rng.choice(len(labels), round(share * len(labels)), replace=False)] = True
    return np.where(wrong, (labels + rng.integers(1, classes, len(labels))) % classes, labels), wrong


def recompressed(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=60)
    return Image.open(file).convert("RGB")


CHANGES = {
    "recompressed": recompressed,
    "cropped all round": lambda p: p.crop((2, 2, p.width - 2, p.height - 2)).resize(p.size),
    "cropped in a corner": lambda p: p.crop((2, 0, p.width, p.height - 2)).resize(p.size),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.25),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.75),
}


def near_copies_of(pictures):
    """Each in the next of the five changes."""
    changes = list(CHANGES.values())
    return np.stack([np.asarray(changes[i % 5](Image.fromarray(one))) for i, one in enumerate(pictures)])


def marked(pictures, which):
    """A white square of 4 pixels in the upper left corner of these."""
    found = pictures.copy()
    found[which, 2:6, 2:6] = 255
    return found
