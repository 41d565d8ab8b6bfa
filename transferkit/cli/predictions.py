"""Images in, the most probable classes out, batch by batch: what `transferkit predict` writes down."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from transferkit.formats import percent
from transferkit.report import csv_text, json_text
from transferkit.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.loaded import LoadedModel


@dataclass(frozen=True)
class Answer:
    """The most probable classes of one image, best first."""

    path: Path
    classes: list[tuple[str, float]]


def image_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as given; the images of folders, found as those of data sets are: see `walk.image_files`."""
    from transferkit.data import walk

    yield from map(Path, walk.image_files(paths))


def answers(
    model: LoadedModel, files: Iterable[Path], *, top: int, batch_size: int, bad: Callable[[Path, str], None]
) -> Iterator[list[Answer]]:
    """The answers for each batch of files; unreadable ones go to `bad(path, reason)`."""
    for paths, images in read_batches(model, files, batch_size=batch_size, bad=bad):
        yield [Answer(path, best) for path, best in zip(paths, best_classes(model, images, top), strict=True)]


def read_batches(
    model: LoadedModel,
    files: Iterable[Path],
    *,
    batch_size: int,
    bad: Callable[[Path, str], None],
    also: LoadedModel | None = None,
) -> Iterator[tuple[list[Path], Tensor]]:
    """The readable files of each batch and their images, preprocessed (n, C, H, W); others go to `bad(path, why)`.

    What a second model's preprocessing would refuse for its size counts as unreadable too.
    """
    import torch

    users = [model] if also is None else [model, also]

    def fits(size: tuple[int, int]) -> None:
        for user in users:
            user.preprocess.refuse(size)

    waiting = iter(files)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        while batch := list(islice(waiting, batch_size)):
            images: list[Tensor] = []
            readable: list[Path] = []
            for path, image in zip(batch, pool.map(lambda path: _read(model, path, fits), batch), strict=True):
                if isinstance(image, str):
                    bad(path, image)
                else:
                    images.append(image)
                    readable.append(path)
            if images:
                yield readable, torch.stack(images)


def _read(model: LoadedModel, path: Path, fits: Callable[[tuple[int, int]], None]) -> Tensor | str:
    """The preprocessed image, or the reason why it cannot be read."""
    from transferkit.data.images import BadImage, open_image

    try:
        return model.preprocess(open_image(path, fits=fits))
    except BadImage as error:
        return error.reason


def best_classes(model: LoadedModel, images: Tensor, top: int) -> list[list[tuple[str, float]]]:
    """For each image its most probable classes, best first."""
    return named(model(images).probabilities, model.classes, top)


def named(probabilities: Tensor, classes: Sequence[str], top: int) -> list[list[tuple[str, float]]]:
    """(n, K) -> for each row its most probable classes with their probability, best first."""
    best = probabilities.topk(min(top, len(classes)), dim=1)
    return [
        [(classes[index], value) for index, value in zip(indices, values, strict=True)]
        for indices, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


class TableWriter:
    """One aligned line per image, written as it comes: classes first, the path last."""

    def __init__(self, file: IO[str], top: int, classes: Sequence[str]) -> None:
        self._file = file
        self._width = min(28, max(len(one_line(name)) for name in classes))
        heads = [f"{f'class {rank}' if top > 1 else 'class':{self._width}}        p" for rank in range(1, top + 1)]
        self._heading = "   ".join([*heads, "image"]) + "\n"

    def write(self, found: Iterable[Answer]) -> None:
        """Write the answers of a batch."""
        self._file.write(self._heading)
        self._heading = ""
        for one in found:
            cells = [f"{cut(name, self._width):{self._width}}  {percent(p):>7}" for name, p in one.classes]
            self._file.write("   ".join([*cells, one_line(str(one.path))]) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing is left to write."""


class CsvWriter:
    """Columns path, class_1, probability_1, class_2, …"""

    def __init__(self, file: IO[str], top: int, classes: Sequence[str]) -> None:
        self._file = file
        ranks = range(1, top + 1)
        columns = ["path", *(f"{what}_{rank}" for rank in ranks for what in ("class", "probability"))]
        self._file.write(csv_text([columns]))

    def write(self, found: Iterable[Answer]) -> None:
        """Write the answers of a batch."""
        rows = ([one.path, *(cell for name, p in one.classes for cell in (name, f"{p:.6f}"))] for one in found)
        self._file.write(csv_text(rows))

    def close(self) -> None:
        """Nothing is left to write."""


class JsonWriter:
    """One JSON array, an object per line: {"path": …, "predictions": [{"class": …, "probability": …}]}."""

    def __init__(self, file: IO[str], top: int, classes: Sequence[str]) -> None:
        self._file = file
        self._before = "[\n"

    def write(self, found: Iterable[Answer]) -> None:
        """Write the answers of a batch."""
        for one in found:
            predictions = [{"class": name, "probability": p} for name, p in one.classes]
            self._file.write(self._before + json_text({"path": str(one.path), "predictions": predictions}))
            self._before = ",\n"

    def close(self) -> None:
        """End the array."""
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")


Writer = TableWriter | CsvWriter | JsonWriter
WRITERS: Mapping[str, type[Writer]] = {"table": TableWriter, "csv": CsvWriter, "json": JsonWriter}


def cut(text: str, width: int) -> str:
    """The text on one line, shortened to the width with an ellipsis."""
    text = one_line(text)
    return text if len(text) <= width else text[: width - 1] + "…"
