"""The lines that stay of a stage's epochs: what the columns are, a row for each, and how long the rest will take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.words.formats import duration, named, percent

Record = Mapping[str, Any]
WIDTHS = (7, 7, 7, 8, 10, 6, 10, 11)
MEANINGS = "* the best so far. left: the training of all stages, at this pace"
SLOW = 0.2  # share of the time that is spent waiting for data from which on it is said


def header(validation: Record | None) -> str:
    """What the columns are; of numbers that are predicted, the share of variance explained is one."""
    of_numbers = validation is not None and validation.get("r2") is not None
    score = "R²" if of_numbers else "top-1"
    return _row(["epoch", "loss", score, "val loss", f"val {score} ", "img/s", "time", "left"])


def row(records: Sequence[Record], epochs: int, *, improved: bool, left: float | None) -> str:
    """Training, validation and speed of an epoch; a star marks a new best."""
    train = records[0]
    validation = next((record for record in records[1:] if record["split"] == "val"), None)
    star = "*" if improved and validation is not None else " "
    return _row(
        [
            f"{train['epoch'] + 1}/{epochs}",
            f"{train['loss']:.4f}",
            score_of(train),
            "–" if validation is None else f"{validation['loss']:.4f}",
            ("–" if validation is None else score_of(validation)) + star,
            f"{train['images_per_second']:.0f}",
            duration(train["seconds"]),
            "–" if left is None else duration(left),
        ]
    )


def beside(records: Sequence[Record], waited: float) -> str | None:
    """What has no column: metrics, other data sets, what plugins add to the loss, and a wait for data that is long."""
    train, parts = records[0], []
    for record in records[1:]:
        if record["split"] != "val":
            parts.append(f"{record['split']} {scores(record)}")
        elif values := named(record.get("metrics", {})):
            parts.append(", ".join(f"{tag} {value:.4f}" for tag, value in values.items()))
    parts += [f"{instance} {entry['weighted']:.3g}" for instance, entry in train["terms"].items()]
    share = waited * train["images_per_second"] / max(train["images"], 1)
    if share > SLOW:
        parts.append(f"{100 * share:.0f} % of the time waiting for images")
    return f"{'':{WIDTHS[0]}}  {', '.join(parts)}" if parts else None


def score_of(record: Record) -> str:
    """The share of right answers, or of the variance explained, or a dash."""
    top1, r2 = record.get("top1"), record.get("r2")
    if top1 is not None and math.isfinite(top1):
        return percent(top1)
    return "–" if r2 is None else f"{r2:.4f}"


def scores(record: Record) -> str:
    """Loss and score of an evaluation, and metrics."""
    score = ("R² " if record.get("r2") is not None else "top-1 ") + score_of(record)
    metrics = "".join(f" {tag} {value:.4f}" for tag, value in named(record.get("metrics", {})).items())
    return f"loss {record['loss']:.4f}{'' if score.endswith('–') else f' {score}'}{metrics}"


def _row(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


class Forecast:
    """How long the training of a run will still take: measured by the images of the stage that trains."""

    def __init__(self) -> None:
        self.later = 0
        """Images that the stages after this one will train on, as far as is known."""
        self._seconds, self._images = 0.0, 0

    def begin_stage(self, later: int) -> None:
        """A stage begins, after which so many images are left."""
        self.later, self._seconds, self._images = later, 0.0, 0

    def add(self, seconds: float, images: int) -> None:
        """An epoch with its evaluation took so long."""
        self._seconds, self._images = self._seconds + seconds, self._images + images

    def left(self, images: int) -> float | None:
        """Seconds from now, where the stage has so many images left."""
        return self._seconds / self._images * (images + self.later) if self._images else None
