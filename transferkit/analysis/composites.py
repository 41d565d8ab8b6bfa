"""Target images pasted on source images: the same pixels for every model, batch size and worker count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transferkit.data.randomness import key, numpy_rng
from transferkit.data.samples import Samples
from transferkit.data.transforms import Pipeline, transforms
from transferkit.model.preprocessing import Preprocessing
from transferkit.report import Table, csv_bytes
from transferkit.system.atomic import make_folder, write_bytes

KEPT = 512  # pictures: 77 MB of 224 x 224
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Composite:
    """One overlay on one background: indices into the two sets of samples, ids for people, the place in pixels."""

    source_class: int
    background: int
    background_id: str
    repeat: int
    overlay: int
    overlay_id: str
    overlay_class: int
    top: int
    left: int
    height: int
    width: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right), half-open."""
        return self.top, self.left, self.top + self.height, self.left + self.width


class Composites:
    """Composite images made when asked for, in 8-bit pixels after both images' evaluation resize and crop.

    `items[i]` says what image i is. Both samples must have the preprocessing of one model: it gives the
    canvas. A model with another input size sees the finished picture resized.
    """

    def __init__(self, backgrounds: Samples, overlays: Samples, items: Sequence[Composite]) -> None:
        self.backgrounds, self.overlays, self.items = backgrounds, overlays, list(items)
        self._background = lru_cache(maxsize=KEPT // 4)(backgrounds.picture)
        self._overlay = lru_cache(maxsize=KEPT)(overlays.picture)

    def __len__(self) -> int:
        return len(self.items)

    def pixels(self, index: int) -> Pixels:
        """(H, W, 3): the composite."""
        return self.paste(index, self._background(self.items[index].background))

    def background(self, index: int) -> Pixels:
        """(H, W, 3): the source image without the overlay."""
        return np.asarray(self._background(self.items[index].background))

    def on_colour(self, index: int, colour: Sequence[int]) -> Pixels:
        """(H, W, 3): the same overlay at the same place on one colour, the control without a source image."""
        size = self._background(self.items[index].background).size
        return self.paste(index, Image.new("RGB", size, tuple(colour)))

    def paste(self, index: int, canvas: Image.Image) -> Pixels:
        """(H, W, 3): this composite's overlay, reduced with antialiasing, on another canvas of the same size."""
        item = self.items[index]
        overlay = self._overlay(item.overlay).resize((item.width, item.height), Image.Resampling.BILINEAR)
        picture = canvas.copy()
        picture.paste(overlay, (item.left, item.top))
        return np.asarray(picture)

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """(columns, rows): the manifest, from which anyone can make the same pictures."""
        names = [field.name for field in fields(Composite)]
        return names, [list(asdict(item).values()) for item in self.items]

    def write(self, folder: Path) -> None:
        """Write every composite as PNG, and manifest.csv."""
        make_folder(folder)
        names, rows = self.rows()
        files = [f"{index:06d}.png" for index in range(len(rows))]
        for index, name in enumerate(files):
            Image.fromarray(self.pixels(index)).save(folder / name)
        table = Table(["file", *names], [[name, *row] for name, row in zip(files, rows, strict=True)])
        write_bytes(folder / "manifest.csv", csv_bytes(table))


def compose(
    backgrounds: Samples,
    overlays: Samples,
    *,
    classes: Iterable[int],
    pool: Sequence[int],
    scale: float,
    total: int,
    seed: int,
) -> Composites:
    """Composites for each source class: every image of it once or, to reach `total`, several times.

    repeats = ⌈total / images⌉; of a class with more than `total` images a keyed choice of `total` is taken.
    The overlay (an index into `pool`, which holds indices of `overlays`) and its place come from
    `place_overlay`, so one class's composites do not depend on which others are asked for.
    """
    canvas = canvas_of(backgrounds)
    ids, overlay_ids, items = backgrounds.ids, overlays.ids, []
    for number in classes:
        images = _chosen(np.flatnonzero(backgrounds.labels == number).tolist(), ids, total, seed)
        repeats = math.ceil(total / len(images)) if images else 0
        for background, repeat in ((image, repeat) for repeat in range(repeats) for image in images):
            drawn, *place = place_overlay(seed, number, ids[background], repeat, len(pool), min(canvas), scale)
            overlay = int(pool[drawn])
            top, left, height, width = stretched(place, canvas)
            label = int(overlays.labels[overlay])
            names = ids[background], repeat, overlay, overlay_ids[overlay], label
            items.append(Composite(number, background, *names, top, left, height, width))
    return Composites(backgrounds, overlays, items)


def place_overlay(
    seed: int, source_class: int, image_id: str, repeat: int, pool_size: int, image_size: int, scale: float
) -> tuple[int, int, int, int]:
    """Which overlay is pasted on a source image, and where: (overlay index, top, left, side).

    The overlay is drawn uniformly from 0..pool_size-1, the offsets from 0..image_size-side inclusive;
    side = ⌊scale·image_size + ½⌋ pixels of a square image. Raises ValueError for an empty pool and for an
    overlay of no pixels or larger than the image.
    """
    side = math.floor(scale * image_size + 0.5)
    if pool_size < 1:
        raise ValueError(f"there is no overlay to choose from (pool_size {pool_size})")
    if not 1 <= side <= image_size:
        raise ValueError(f"an overlay of scale {scale} has {side} pixels a side, which does not fit 1..{image_size}")
    rng = numpy_rng(seed, "overlay", source_class, image_id, repeat)
    overlay = int(rng.integers(pool_size))
    top, left = (int(offset) for offset in rng.integers(image_size - side + 1, size=2))
    return overlay, top, left, side


def stretched(place: Sequence[int], canvas: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, side) on a square of the canvas's shorter side -> (top, left, height, width) on the canvas.

    On a canvas (height, width) that is not square, overlay and offset stretch with the longer side.
    """
    top, left, side = place
    square = min(canvas)
    top, height = _along(top, side, square, canvas[0])
    left, width = _along(left, side, square, canvas[1])
    return top, left, height, width


def _along(start: int, side: int, square: int, length: int) -> tuple[int, int]:
    if length == square:
        return start, side
    size = round(side * length / square)
    return round(start * (length - size) / max(square - side, 1)), size


def mean_colour(mean: Sequence[float]) -> tuple[int, int, int]:
    """A model's mean in 8 bits, of one or three channels: the colour that it sees as nothing."""
    values = mean if len(mean) == 3 else [mean[0]] * 3
    red, green, blue = (min(max(round(255 * value), 0), 255) for value in values)
    return red, green, blue


def canvas_of(samples: Samples) -> tuple[int, int]:
    """(height, width) of the pictures in pixels."""
    width, height = samples.picture(0).size
    return height, width


def _chosen(images: list[int], ids: Sequence[str], total: int, seed: int) -> list[int]:
    if len(images) <= total:
        return images
    return sorted(sorted(images, key=lambda image: key(seed, "background", ids[image]))[:total])


class Batches:
    """From 8-bit pixels to a model's input."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._size = preprocessing.input_size
        self._pipeline: Pipeline = transforms(preprocessing, None)
        self.device = device

    def __call__(self, pictures: Iterable[Pixels]) -> Tensor:
        """(n, C, h, w): pictures (H, W, 3), resized where the model takes another size, then normalised."""
        height, width = self._size
        found = []
        for pixels in pictures:
            image = Image.fromarray(pixels)
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            found.append(self._pipeline.final(image))
        return torch.stack(found).to(self.device)
