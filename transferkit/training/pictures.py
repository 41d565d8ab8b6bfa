"""Pictures of what the model is shown and confuses, for TensorBoard, and the record of what is planted in images."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from transferkit.data.planting import OWN_COLUMNS
from transferkit.data.tables import TableSamples
from transferkit.report import Table, csv_bytes
from transferkit.system.atomic import make_folder, write_bytes
from transferkit.training.examples import jpeg, small

if TYPE_CHECKING:
    from transferkit.data.samples import Samples
    from transferkit.model.preprocessing import Preprocessing

SHOWN = 16
BATCH, BATCH_SIDE = "training-batch.jpg", 640
MANIFEST, SEAL = "corruptions.csv", "corruptions.sha256"
PAIRS = 8
PAIR_SIDE = 80  # pixels, about: a picture of eight pairs then stays below 300 kB


def log_batch(out: Path, accelerator: Accelerator, samples: Samples, preprocessing: Preprocessing) -> None:
    """A grid of training images exactly as the model gets them, with augmentation and corruptions; none of a table.

    In full to TensorBoard, and as large as a page needs it as `training-batch.jpg` into the stage's folder.
    """
    if isinstance(samples, TableSamples):
        return
    chosen = np.linspace(0, len(samples) - 1, min(SHOWN, len(samples))).astype(int)
    images = torch.stack([samples.get(int(index), 0)[0] for index in chosen])
    grid = grid_of(images, preprocessing, in_row=8)
    pixels = (255 * grid).round().to(torch.uint8).permute(1, 2, 0).numpy()
    make_folder(out)
    write_bytes(out / BATCH, jpeg(small(Image.fromarray(pixels), width=BATCH_SIDE)))
    _show(accelerator, lambda board: board.add_image("training images", grid, 0))


def grid_of(images: Tensor, preprocessing: Preprocessing, in_row: int = 4) -> Tensor:
    """One picture (3, H, W), values 0 to 1, of images (n, 3, h, w) as the model gets them."""
    mean = torch.tensor(preprocessing.mean).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    grid: Tensor = make_grid((images * std + mean).clamp(0, 1), nrow=in_row)
    return grid


def corruption_pairs(samples: Samples) -> Image.Image:
    """Corrupted samples from one end to the other, as evaluation shows them: clean above, corrupted below.

    Raises ValueError when nothing is planted in the samples.
    """
    changed = np.flatnonzero(np.any([*samples.planted.values(), np.zeros(len(samples), bool)], axis=0))
    if not len(changed):
        raise ValueError(f"nothing is planted in {samples.name} ({samples.split})")
    shown = changed[np.linspace(0, len(changed) - 1, min(PAIRS, len(changed))).astype(int)].tolist()
    rows = [[small(one.picture(index), height=PAIR_SIDE) for index in shown] for one in (samples.clean(), samples)]
    width, height = rows[0][0].size
    sheet = Image.new("RGB", (len(shown) * (width + 2) - 2, 2 * height + 2), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * (width + 2), row * (height + 2)))
    return sheet


def record_corruptions(out: Path, accelerator: Accelerator, samples: Mapping[str, Samples]) -> None:
    """Write into a stage's folder what is planted in the images it uses; nothing where nothing is.

    `samples` has every split and data set of the stage by any name, None where there is none. `corruptions.csv` has
    a row per corrupted image and corruption; `corruptions-DATASET.png` shows images before and after, and TensorBoard
    gets it as well. Only on the main process, and once: a resume finds the files there, and writes damaged ones again.
    Raises InputError when an option does not fit the images, before a worker process would.
    """
    if not accelerator.is_main_process or _is_recorded(out):
        return
    corrupted = distinct(samples.values())
    if not corrupted:
        return
    make_folder(out)
    table = csv_bytes(manifest(corrupted))
    for name, one in {one.name: one for one in reversed(corrupted)}.items():
        pairs = corruption_pairs(one)
        png = io.BytesIO()
        pairs.save(png, "PNG", optimize=True)
        write_bytes(out / f"corruptions-{name}.png", png.getvalue())
        _show_pairs(accelerator, name, np.asarray(pairs))
    write_bytes(out / MANIFEST, table)
    write_bytes(out / SEAL, _seal(table))  # last: it says that all of it is there


def _seal(table: bytes) -> bytes:
    """The line by which `sha256sum --check` knows the manifest."""
    return f"{hashlib.sha256(table).hexdigest()}  {MANIFEST}\n".encode()


def _is_recorded(out: Path) -> bool:
    """Whether the manifest is there as it was written."""
    try:
        return (out / SEAL).read_bytes() == _seal((out / MANIFEST).read_bytes())
    except OSError:
        return False


def distinct(samples: Iterable[Samples]) -> list[Samples]:
    """Those in which something is planted, each split of a data set once."""
    found: dict[tuple[str, str], Samples] = {}
    for one in samples:
        if any(mask.any() for mask in one.planted.values()):
            found.setdefault((one.name, one.split), one)
    return list(found.values())


def manifest(samples: Iterable[Samples]) -> Table:
    """One table of their manifests; its columns are those of all plugins together, empty where they do not apply."""
    rows: list[dict[str, Any]] = [row for one in samples for row in one.manifest_rows()]
    columns = dict.fromkeys(OWN_COLUMNS)
    for row in rows:
        columns |= dict.fromkeys(row)
    return Table(list(columns), [[row.get(name, "") for name in columns] for row in rows])


def _show_pairs(accelerator: Accelerator, name: str, pairs: NDArray[np.uint8]) -> None:
    _show(accelerator, lambda board: board.add_image(f"corruptions/{name}", pairs, 0, dataformats="HWC"))


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
