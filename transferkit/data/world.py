"""A drawn world for the quickstart: no download, and a known answer to what a fine-tuned model should remember.

The source task is twelve shapes and textures in grey; colour is there, and means nothing. The target task tells blue
wheels from red signs: its pictures are of some source classes (SHARED) and never of the others (SOURCE_ONLY). So a
network from scratch can go by colour alone, and one from the source has features for shapes to go by: what it looks at
in a picture with a memory and patches of colour differs. Beside these two there are digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data import drawing
from transferkit.data.contents import Contents
from transferkit.data.randomness import numpy_rng
from transferkit.data.world_classes import (
    CLASSES,
    SHAPES,
    SHARED,
    SOURCE_CLASSES,
    SOURCE_ONLY,
    TARGET_CLASSES,
    TEXTURES,
)

__all__ = ["CLASSES", "SHAPES", "SHARED", "SOURCE_CLASSES", "SOURCE_ONLY", "TARGET_CLASSES", "TEXTURES", "read"]

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset

WORLD_SEED = 2024
DRAWING = {"source": 2, "target": 2, "digits": 1}
"""Counted up when the pictures of a kind change: what a cache keeps of the old ones is not theirs."""


def draw(kind: str, split: str, name: str, index: int, size: int) -> NDArray[np.uint8]:
    """The picture (size, size, 3) of a class: a function of these arguments alone."""
    rng = numpy_rng(WORLD_SEED, kind, split, name, index)
    if kind == "digits":
        return drawing.digit(rng, size, name).astype(np.uint8)
    if kind == "target":
        picture = drawing.wheel(rng, size) if name == "wheel" else drawing.sign(rng, size)
    else:
        picture = drawing.texture(rng, size, name) if name in TEXTURES else drawing.shape(rng, size, name)
    noise = rng.standard_normal((size, size, 3), dtype=np.float32) * rng.uniform(3, 9)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def read(spec: Dataset, split: str) -> Contents | None:
    """The split of a drawn data set; val and train are drawn, test is not."""
    world = spec.world
    assert world is not None
    count = {"train": world.train, "val": world.val}.get(split)
    if count is None:
        return None
    classes = list(CLASSES[world.kind])
    keys = [(name, index) for name in classes for index in range(count)]
    labels = np.repeat(np.arange(len(classes)), count)
    ids = [f"{name}/{index:04d}" for name, index in keys]
    content = partial(bytes, f"world {WORLD_SEED} {world.kind} {DRAWING[world.kind]} {split} {world.size}".encode())
    return Contents(classes, labels, ids, _Pictures(world.kind, split, world.size, keys), content)


@dataclass
class _Pictures:
    """Drawn when first asked for, then kept."""

    kind: str
    split: str
    size: int
    keys: list[tuple[str, int]]
    _drawn: dict[int, Image.Image] = field(default_factory=dict)

    def __call__(self, index: int) -> Image.Image:
        if index not in self._drawn:
            name, number = self.keys[index]
            self._drawn[index] = Image.fromarray(draw(self.kind, self.split, name, number, self.size))
        return self._drawn[index]
