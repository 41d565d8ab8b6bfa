"""Images in, the most probable classes out, batch by batch: what `transferkit predict` writes down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, Literal, TypeVar

from transferkit.deploy.reading import read_batches
from transferkit.report import csv_text, json_text
from transferkit.words.formats import percent
from transferkit.words.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.cli.inputs import Tta
    from transferkit.deploy.loaded import LoadedModel


ABSTAINED = "–"
Form = Literal["table", "csv", "json"]


@dataclass(frozen=True)
class Answer:
    """The most probable classes of one image, best first."""

    path: Path
    classes: list[tuple[str, float]]


One = TypeVar("One", bound=Answer)


def image_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as given; the images of folders, found as those of data sets are: see `walk.image_files`."""
    from transferkit.data import walk

    yield from map(Path, walk.image_files(paths))


def answers(
    model: LoadedModel,
    files: Iterable[Path],
    *,
    top: int,
    batch_size: int,
    bad: Callable[[Path, str], None],
    tta: Tta | None = None,
) -> Iterator[list[Answer]]:
    """The answers for each batch of files; unreadable ones go to `bad(path, reason)`. With `tta` over views of each."""
    for paths, images in read_batches(model.preprocess, files, batch_size=batch_size, bad=bad):
        best = named(_probabilities(model, images, tta), model.classes, top)
        yield [Answer(path, classes) for path, classes in zip(paths, best, strict=True)]


def _probabilities(model: LoadedModel, images: Tensor, tta: Tta | None) -> Tensor:
    if tta is None:
        return model(images).probabilities
    from transferkit.model.views import over_views

    return over_views(images, tta.value, lambda view: model(view).probabilities)


def views_line(tta: Tta) -> str:
    """What looking at several views of each image costs, in a sentence."""
    return f"mean over {tta.value}: {passes(tta)} passes for each image instead of 1"


def passes(tta: Tta) -> int:
    """How many passes an image takes."""
    from transferkit.model.views import PASSES

    return PASSES[tta.value]


def named(probabilities: Tensor, classes: Sequence[str], top: int) -> list[list[tuple[str, float]]]:
    """(n, K) -> for each row its most probable classes with their probability, best first."""
    best = probabilities.topk(min(top, len(classes)), dim=1)
    return [
        [(classes[index], value) for index, value in zip(indices, values, strict=True)]
        for indices, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


class Writer(Generic[One]):
    """Answers, written as they come: aligned lines, CSV, or one JSON array with an object per line.

    A line of the table has the classes first and the path last. The columns of CSV are path, class_1, probability_1,
    class_2, …; the objects {"path": …, "predictions": [{"class": …, "probability": …}]}, empty where the model
    abstained. `heads` and `columns` name what `cells`, `values` and `content` add.
    """

    def __init__(
        self,
        form: Form,
        file: IO[str],
        top: int,
        classes: Sequence[str],
        heads: Sequence[str] = (),
        columns: Sequence[str] = (),
    ) -> None:
        self._file, self._top, self._width = file, top, width_of(classes)
        ranks = range(1, top + 1)
        named = [f"{f'class {rank}' if top > 1 else 'class':{self._width}}        p" for rank in ranks]
        answer = [f"{what}_{rank}" for rank in ranks for what in ("class", "probability")]
        self._before = "[\n" if form == "json" else "   ".join([*named, *heads, "image"]) + "\n"
        self._text = {"table": self._line, "csv": self._row, "json": self._object}[form]
        self._ends = {"[\n": "[]\n", ",\n": "\n]\n"} if form == "json" else {}
        if form == "csv":
            file.write(csv_text([["path", *answer, *columns]]))

    def cells(self, one: One) -> list[str]:
        """What a line of the table has between the classes and the path."""
        return []

    def values(self, one: One) -> list[Any]:
        """What a row of CSV has after the classes."""
        return []

    def content(self, one: One) -> dict[str, Any]:
        """What a JSON object has beside the classes."""
        return {}

    def write(self, found: Iterable[One]) -> None:
        """Write the answers of a batch."""
        self._file.write("".join(map(self._text, found)))
        self._file.flush()

    def close(self) -> None:
        """End the array."""
        self._file.write(self._ends.get(self._before, ""))

    def _line(self, one: One) -> str:
        heading, self._before = self._before, ""
        classes = one.classes or [(ABSTAINED, math.nan)] * self._top
        shown = [(cut(name, self._width), "" if math.isnan(p) else percent(p)) for name, p in classes]
        ranks = [f"{name:{self._width}}  {p:>7}" for name, p in shown]
        return heading + "   ".join([*ranks, *self.cells(one), one_line(str(one.path))]) + "\n"

    def _row(self, one: One) -> str:
        answer = [cell for name, p in one.classes for cell in (name, f"{p:.6f}")] or [""] * (2 * self._top)
        return csv_text([[one.path, *answer, *self.values(one)]])

    def _object(self, one: One) -> str:
        before, self._before = self._before, ",\n"
        predictions = [{"class": name, "probability": p} for name, p in one.classes]
        return before + json_text({"path": str(one.path), "predictions": predictions, **self.content(one)})


def width_of(names: Iterable[str]) -> int:
    """Of a column that holds one of these."""
    return min(28, max(len(one_line(name)) for name in names))


def cut(text: str, width: int) -> str:
    """The text on one line, shortened to the width with an ellipsis."""
    text = one_line(text)
    return text if len(text) <= width else text[: width - 1] + "…"
