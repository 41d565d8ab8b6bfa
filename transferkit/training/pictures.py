"""Pictures for TensorBoard: what the model is shown, and what it confuses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from transferkit.data.tables import TableSamples

if TYPE_CHECKING:
    from transferkit.data.samples import Samples
    from transferkit.model import Preprocessing

_tell = threading.excepthook


def _tell_once(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread gives its error to whoever writes next, where it becomes a sentence: no traceback before."""
    if not type(failed.thread).__module__.startswith("tensorboard."):
        _tell(failed)


threading.excepthook = _tell_once
SHOWN = 16
PAIRS = 8
PAIR_SIDE = 80  # pixels, about: a picture of eight pairs then stays below 300 kB


def log_batch(accelerator: Accelerator, samples: Samples, preprocessing: Preprocessing) -> None:
    """A grid of training images exactly as the model gets them, with augmentation and corruptions; none of a table."""
    if isinstance(samples, TableSamples):
        return
    chosen = np.linspace(0, len(samples) - 1, min(SHOWN, len(samples))).astype(int)
    images = torch.stack([samples.get(int(index), 0)[0] for index in chosen])
    grid = grid_of(images, preprocessing)
    _show(accelerator, lambda board: board.add_image("training images", grid, 0))


def grid_of(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """One picture (3, H, W), values 0 to 1, of images (n, 3, h, w) as the model gets them, four in a row."""
    mean = torch.tensor(preprocessing.mean).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    grid: Tensor = make_grid((images * std + mean).clamp(0, 1), nrow=4)
    return grid


def corruption_pairs(samples: Samples) -> Image.Image:
    """Corrupted samples from one end to the other, as evaluation shows them: clean above, corrupted below.

    Raises ValueError when nothing is planted in the samples.
    """
    changed = np.flatnonzero(np.any([*samples.planted.values(), np.zeros(len(samples), bool)], axis=0))
    if not len(changed):
        raise ValueError(f"nothing is planted in {samples.name} ({samples.split})")
    shown = changed[np.linspace(0, len(changed) - 1, min(PAIRS, len(changed))).astype(int)].tolist()
    rows = [[_shown(one.picture(index)) for index in shown] for one in (samples.clean(), samples)]
    width, height = rows[0][0].size
    sheet = Image.new("RGB", (len(shown) * (width + 2) - 2, 2 * height + 2), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * (width + 2), row * (height + 2)))
    return sheet


def _shown(picture: Image.Image) -> Image.Image:
    """Small pictures in whole steps larger, so that pixels stay pixels; large ones smaller."""
    width, height = picture.size
    if height <= PAIR_SIDE:
        times = PAIR_SIDE // height
        return picture.resize((width * times, height * times), Image.Resampling.NEAREST)
    return picture.resize((max(1, round(width * PAIR_SIDE / height)), PAIR_SIDE), Image.Resampling.BOX)


def log_corruptions(accelerator: Accelerator, name: str, pairs: Image.Image) -> None:
    """What `corruption_pairs` drew of that data set."""
    _show(accelerator, lambda board: board.add_image(f"corruptions/{name}", np.asarray(pairs), 0, dataformats="HWC"))


def log_confusion(accelerator: Accelerator, split: str, confusion: Tensor, classes: list[str], step: int) -> None:
    """A confusion matrix: rows are true classes, shades are shares of the row."""
    tag = f"confusion/{split}"
    _show(accelerator, lambda board: board.add_figure(tag, confusion_figure(confusion.numpy(), classes), step))


def _show(accelerator: Accelerator, send: Callable[[Any], None]) -> None:
    """Give it to TensorBoard. A picture that the disk does not take is lost; the next numbers fail as well and tell."""
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            with suppress(OSError):
                send(tracker.writer)


def confusion_figure(confusion: NDArray[np.int64], classes: list[str]) -> Any:
    """A matplotlib figure of (K, K) counts."""
    from matplotlib.figure import Figure

    size = min(2.5 + 0.35 * len(classes), 12)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(classes) <= 12:
        for row, column in np.ndindex(*confusion.shape):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=shade)
    return figure
