"""Images in; answers with what the detector says out, batch by batch: what `transferkit detect` writes down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from transferkit.cli.predictions import cut, named, read_batches
from transferkit.errors import InputError
from transferkit.formats import percent
from transferkit.report import csv_text, json_text
from transferkit.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.loaded import LoadedModel

ABSTAINED = "–"


@dataclass(frozen=True)
class Detection:
    """One image: its most probable classes, who said so (None: nobody, it was flagged), and the detector's word."""

    path: Path
    classes: list[tuple[str, float]]
    answered_by: Literal["model", "fallback"] | None
    flag: bool
    score: float
    p_value: float
    source_class: str
    source_index: int


class Fallback:
    """Another model for the same classes, which answers where the first is flagged. Raises InputError if it is not."""

    def __init__(self, model: LoadedModel, classes: Sequence[str], label: str) -> None:
        if model.classes != list(classes):
            missing, other = set(classes) - set(model.classes), set(model.classes) - set(classes)
            if missing or other or len(set(classes)) < len(classes):
                raise InputError(
                    f"{label} cannot stand in: its classes are not those of the model "
                    f"({_difference(missing, 'it lacks')}{_difference(other, 'it also has')}classes must agree by name)"
                )
        self.model = model
        self._order = [model.classes.index(name) for name in classes]

    def probabilities(self, paths: Sequence[Path], images: Tensor, like: LoadedModel) -> Tensor:
        """(n, K) in the first model's order of classes. `images` are what `like` saw of these paths."""
        import torch

        from transferkit.data.images import open_image

        if self.model.preprocess.preprocessing != like.preprocess.preprocessing:
            mine = self.model.preprocess
            images = torch.stack([mine(open_image(path, fits=mine.refuse)) for path in paths])
        return self.model(images).probabilities[:, self._order]


def detections(
    model: LoadedModel,
    files: Iterable[Path],
    *,
    top: int,
    batch_size: int,
    bad: Callable[[Path, str], None],
    fallback: Fallback | None = None,
    abstain: bool = False,
) -> Iterator[list[Detection]]:
    """What is seen in each batch of files, by a guarded model; unreadable files go to `bad(path, reason)`.

    A flagged image is answered by the fallback if there is one, by nobody with `abstain`, else by the model.
    """
    other = None if fallback is None else fallback.model
    for paths, images in read_batches(model, files, batch_size=batch_size, bad=bad, also=other):
        found = model(images)
        assert found.flag is not None and found.score is not None
        assert found.p_value is not None and found.source_class is not None
        answers = named(found.probabilities, model.classes, top)
        by: list[Literal["model", "fallback"] | None] = ["model"] * len(paths)
        flagged = found.flag.nonzero().flatten().tolist()
        if abstain:
            for row in flagged:
                answers[row], by[row] = [], None
        elif fallback is not None and flagged:
            others = fallback.probabilities([paths[row] for row in flagged], images[flagged], model)
            for row, answer in zip(flagged, named(others, model.classes, top), strict=True):
                answers[row], by[row] = answer, "fallback"
        classes = found.source_class.tolist()
        names = [model.source_classes[index] for index in classes]
        columns = (found.flag.tolist(), found.score.tolist(), found.p_value.tolist(), names, classes)
        yield [Detection(*row) for row in zip(paths, answers, by, *columns, strict=True)]


def _difference(names: set[str], verb: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{verb} {', '.join(sorted(names)[:3])}{more}; "


class TableWriter:
    """One aligned line per image, written as it comes; the path last."""

    def __init__(self, file: IO[str], top: int, classes: Sequence[str], source_classes: Sequence[str]) -> None:
        self._file = file
        self._width = _width(classes)
        self._source_width = _width([*source_classes, "source class"])
        self._top = top
        ranks = [f"{f'class {rank}' if top > 1 else 'class':{self._width}}        p" for rank in range(1, top + 1)]
        cells = [*ranks, f"{'flag':8}", " score", "p-value", f"{'source class':{self._source_width}}", "image"]
        self._heading = "   ".join(cells) + "\n"

    def write(self, found: Iterable[Detection]) -> None:
        """Write the lines of a batch."""
        self._file.write(self._heading)
        self._heading = ""
        for one in found:
            classes = one.classes or [(ABSTAINED, math.nan)] * self._top
            ranks = [f"{cut(name, self._width):{self._width}}  {_percent(p):>7}" for name, p in classes]
            answer = {"model": "flag", "fallback": "fallback", None: "abstain"}[one.answered_by] if one.flag else ""
            seen = [f"{answer:8}", f"{one.score:6.4f}", f"{one.p_value:7.4f}"]
            name = f"{cut(one.source_class, self._source_width):{self._source_width}}"
            self._file.write("   ".join([*ranks, *seen, name, one_line(str(one.path))]) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing is left to write."""


class CsvWriter:
    """Columns path, class_1, probability_1, …, answered_by, flag (0 or 1), score, p_value, source_class."""

    def __init__(self, file: IO[str], top: int, classes: Sequence[str], source_classes: Sequence[str]) -> None:
        self._file = file
        self._top = top
        answer = [f"{what}_{rank}" for rank in range(1, top + 1) for what in ("class", "probability")]
        columns = ["path", *answer, "answered_by", "flag", "score", "p_value", "source_class"]
        self._file.write(csv_text([columns]))

    def write(self, found: Iterable[Detection]) -> None:
        """Write the lines of a batch."""
        for one in found:
            answer = [cell for name, p in one.classes for cell in (name, f"{p:.6f}")] or [""] * (2 * self._top)
            seen = [one.answered_by or "", int(one.flag), f"{one.score:.8f}", f"{one.p_value:.6f}", one.source_class]
            self._file.write(csv_text([[one.path, *answer, *seen]]))

    def close(self) -> None:
        """Nothing is left to write."""


class JsonWriter:
    """One JSON array, an object per line; `predictions` is empty where the model abstained."""

    def __init__(self, file: IO[str], top: int, classes: Sequence[str], source_classes: Sequence[str]) -> None:
        self._file = file
        self._before = "[\n"

    def write(self, found: Iterable[Detection]) -> None:
        """Write the lines of a batch."""
        for one in found:
            content = {
                "path": str(one.path),
                "predictions": [{"class": name, "probability": p} for name, p in one.classes],
                "answered_by": one.answered_by,
                "flag": one.flag,
                "score": one.score,
                "p_value": one.p_value,
                "source_class": one.source_class,
            }
            self._file.write(self._before + json_text(content))
            self._before = ",\n"

    def close(self) -> None:
        """End the array."""
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")


Writer = TableWriter | CsvWriter | JsonWriter
WRITERS: Mapping[str, type[Writer]] = {"table": TableWriter, "csv": CsvWriter, "json": JsonWriter}


def _width(names: Iterable[str]) -> int:
    return min(28, max(len(one_line(name)) for name in names))


def _percent(value: float) -> str:
    return "" if math.isnan(value) else percent(value)
