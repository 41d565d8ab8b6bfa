"""What a finished model gets wrong and is sure of, and what it barely gets right: a table and small pictures."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from transferkit.data.tables import TableSamples
from transferkit.report import Table, csv_bytes
from transferkit.system.atomic import make_folder, write_bytes

if TYPE_CHECKING:
    from transferkit.data.samples import Samples
    from transferkit.training.evaluation import Evaluation

EXAMPLES = "examples.csv"
COLUMNS = ("kind", "true", "predicted", "probability", "true_label", "predicted_label", "id", "picture")
PER_CLASS = 4  # mistakes, and as many hits, of one class
MOST = {"mistake": 32, "hit": 16}  # of all classes together: pictures for a page, some 4 kB each
SIDE = 96  # pixels


def chosen(true: Tensor, predicted: Tensor, probability: Tensor) -> dict[str, list[int]]:
    """{kind: images}: the mistakes of each class with the highest probability, and the hits with the lowest.

    As many classes as possible come in before one has a second picture.
    """
    wrong = true != predicted
    return {
        "mistake": _first_of_each(wrong, -probability, true, MOST["mistake"]),
        "hit": _first_of_each(~wrong, probability, true, MOST["hit"]),
    }


def _first_of_each(among: Tensor, order: Tensor, labels: Tensor, most: int) -> list[int]:
    places = torch.nonzero(among).flatten()
    ranked = places[order[places].argsort(stable=True)].tolist()
    before: Counter[int] = Counter()
    turns: dict[int, int] = {}
    for index in ranked:
        label = int(labels[index])
        turns[index] = before[label]
        before[label] += 1
    early = sorted((index for index in ranked if turns[index] < PER_CLASS), key=lambda index: turns[index])
    kept = set(early[:most])
    return [index for index in ranked if index in kept]


def write_examples(out: Path, samples: Samples, found: Evaluation, classes: Sequence[str]) -> None:
    """Write `examples.csv` and its pictures into a stage's folder, in place of those of an earlier evaluation.

    Rows of tables of numbers have no pictures, and no file is written of them.
    """
    if isinstance(samples, TableSamples) or found.indices is None or found.probability is None:
        return
    ids, rows = samples.ids, []
    shutil.rmtree(out / "examples", ignore_errors=True)
    make_folder(out / "examples")
    for kind, places in chosen(found.true, found.predicted, found.probability).items():
        for number, place in enumerate(places, start=1):
            index, name = int(found.indices[place]), f"examples/{kind}-{number:02d}.jpg"
            write_bytes(out / name, jpeg(small(samples.picture(index), width=SIDE)))
            true, predicted = int(found.true[place]), int(found.predicted[place])
            said = round(float(found.probability[place]), 4)
            rows.append([kind, classes[true], classes[predicted], said, true, predicted, ids[index], name])
    write_bytes(out / EXAMPLES, csv_bytes(Table(COLUMNS, rows)))


def small(picture: Image.Image, *, width: int | None = None, height: int | None = None) -> Image.Image:
    """No wider, or no higher, than so many pixels. One that is smaller by half or more grows in whole steps, so that
    pixels stay pixels.
    """
    now, most = (picture.width, width) if width is not None else (picture.height, height)
    assert most is not None  # one of the two is given
    if now <= most:
        times = most // now
        return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    wide, high = (max(1, round(side * most / now)) for side in picture.size)
    return picture.resize((wide, high), Image.Resampling.BOX)


def jpeg(picture: Any) -> bytes:
    """The picture as the content of a JPEG file."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=82, optimize=True)
    return file.getvalue()
