"""Tables instead of images: rows of numbers with one number as the answer. The regression of paper 004, section 4.1.

A row reaches the model as an image of one line: (1, 1, d). Its label is a float32, and there is one "class", y.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.data.contents import Contents, Source
from transferkit.data.randomness import numpy_rng
from transferkit.data.samples import Each, New, Samples
from transferkit.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from transferkit.data.images import BadImage
    from transferkit.recipe.schema import Dataset, Synthetic

OUTPUT = "y"
"""The name of the one output, where images have class names."""

Rows = NDArray[np.float32]
Numbers = NDArray[np.float64]


@dataclass
class TableContents(Contents):
    """What the reader of a table gives: besides the ids, rows (n, d) and outputs (n,), both standardised."""

    rows: Rows = field(kw_only=True)
    outputs: Rows = field(kw_only=True)

    @classmethod
    def of(cls, rows: Rows, outputs: Rows, ids: list[str]) -> TableContents:
        """From the numbers themselves."""
        numbers = blake2b(np.ascontiguousarray(rows, "<f4").tobytes(), digest_size=16)
        numbers.update(np.ascontiguousarray(outputs, "<f4").tobytes())
        content = partial(bytes, numbers.digest())  # can travel to a process, which a hash that is not done cannot
        return cls([OUTPUT], np.zeros(len(ids), np.int64), ids, _no_image, content, rows=rows, outputs=outputs)


@dataclass
class TableSource(Source):
    """The rows of one split. `labels` are the outputs, (n,) float32."""

    labels: NDArray[Any]
    contents: TableContents

    @property
    def rows(self) -> Rows:
        """(n, d) float32."""
        return self.contents.rows

    def image(self, index: int) -> Image.Image:
        """Raises InputError: a row is no picture."""
        _no_image(index)

    def fingerprint(self) -> str:
        """A hash of ids, rows and outputs."""
        digest = blake2b("\0".join(self.ids).encode(), digest_size=16)
        digest.update(self.contents.content())
        return digest.hexdigest()

    def find_bad(self, *_: Any, **__: Any) -> dict[int, BadImage]:
        """Nothing: there are no files to decode."""
        return {}


def _no_image(index: int) -> NoReturn:
    raise InputError("a table has rows of numbers, not images: this only works on images")


class TableSamples(Samples):
    """Chosen rows of a table with the interface of `Samples`; nothing is augmented, so epochs do not matter."""

    def __init__(
        self, name: str, split: str, source: TableSource, *, seed: int = 0, indices: NDArray[np.int64] | None = None
    ) -> None:
        self.name, self.split, self.source, self.table, self.seed = name, split, source, source, seed
        self.chosen = np.arange(len(source)) if indices is None else np.asarray(indices)
        self.classes = source.classes
        self.labels: NDArray[Any] = source.labels[self.chosen]
        self.rows: Rows = source.rows[self.chosen]
        self.corruptions, self._corrupted = (), []

    random = False
    """Nothing is augmented."""

    @property
    def groups(self) -> NDArray[np.int64]:
        """(n,) zeros: rows are of one group."""
        return np.zeros(len(self), dtype=np.int64)

    def get(self, index: int, epoch: int) -> tuple[Tensor, Any, int]:
        """((1, 1, d) tensor, output, index)."""
        return torch.from_numpy(self.rows[index].copy()).reshape(1, 1, -1), float(self.labels[index]), index

    def batch(self, indices: NDArray[np.int64], epochs: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(n, 1, 1, d) rows and (n,) float32 outputs."""
        return as_images(self.rows[indices]), torch.from_numpy(self.labels[indices])

    def read(
        self, indices: NDArray[np.int64], epochs: NDArray[np.int64], new: New = torch.empty, each: Each | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same as `batch`, in memory of `new`."""
        rows, outputs = self.batch(indices, epochs)
        return new(rows.shape, dtype=rows.dtype).copy_(rows), outputs

    def finish(self, images: Tensor) -> Tensor:
        """Rows are finished as they are read."""
        return images

    def subset(self, indices: NDArray[np.int64]) -> TableSamples:
        """Some of these rows, by their index here."""
        return TableSamples(self.name, self.split, self.table, seed=self.seed, indices=self.chosen[indices])

    def evaluation_batches(
        self, batch_size: int, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows in order: (rows, outputs) per batch."""
        for start in range(0, len(self), batch_size):
            part = np.arange(start, min(start + batch_size, len(self)))
            rows, outputs = self.batch(part, part)
            yield rows.to(device), outputs.to(device)

    def picture(self, index: int) -> Image.Image:
        """Raises InputError: a row is no picture."""
        _no_image(index)

    def fingerprint(self) -> str:
        """A hash of the table and the choice of rows."""
        facts = json.dumps([self.name, self.split, self.source.fingerprint()])
        digest = blake2b(facts.encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.chosen, dtype="<i8").tobytes())
        return digest.hexdigest()


def as_images(rows: Rows) -> Tensor:
    """(n, d) -> (n, 1, 1, d): what a model takes."""
    return torch.from_numpy(np.ascontiguousarray(rows, np.float32))[:, None, None, :]


def strata(source: Source) -> NDArray[np.int64]:
    """(n,) what a share "per class" is taken of: the labels; the rows of a table are all of one kind."""
    return np.zeros(len(source), np.int64) if isinstance(source, TableSource) else source.labels


def refuse_other_kind(one: Source, where: str, other: Source, there: str) -> None:
    """Raises InputError when one of two data sets of a stage is a table and the other holds images."""
    if isinstance(one, TableSource) != isinstance(other, TableSource):
        table, images = (where, there) if isinstance(one, TableSource) else (there, where)
        raise InputError(f'"{table}" is a table and "{images}" holds images: one stage cannot use both')


def open_table(contents: Contents) -> TableSource:
    """The rows of a split that `read` found."""
    assert isinstance(contents, TableContents)
    return TableSource([OUTPUT], contents.outputs, contents.ids, contents, np.arange(len(contents.ids)))


# -- the synthetic regression ------------------------------------------------------------------------------------


def read(spec: Dataset, split: str) -> TableContents | None:
    """A split of the table that `synthetic` describes; train and val are drawn, test is not."""
    options = spec.synthetic
    assert options is not None
    if split not in ("train", "val"):
        return None
    if options.permuted > options.features:
        raise InputError(f"synthetic.permuted: {options.permuted} columns of {options.features} cannot be permuted")
    rows, outputs = _drawn(options, split)
    mean, sd = _output_scale(options)
    for column in range(options.permuted):  # each in an order of its own
        rng = numpy_rng(options.seed, "synthetic", options.task, split, "permuted", column)
        rows[:, column] = rng.permutation(rows[:, column])
    ids = [f"{options.task}/{split}/{row:06d}" for row in range(len(rows))]
    return TableContents.of(rows.astype(np.float32), ((outputs - mean) / sd).astype(np.float32), ids)


def columns_of(task: str, features: int) -> range:
    """The columns that a task's output depends on: source 0 … 29 and target 20 … 49 of 50, half-open in the code.

    The printed sums run to 30 and to 50 inclusive, but 50 features, "the first 20" and "the middle 10" need these.
    """
    first, last = 2 * features // 5, features - 2 * features // 5
    return range(last) if task == "source" else range(first, features)


def output(task: str, raw: Numbers) -> Numbers:
    """(n, d) -> (n,): the sum over the task's columns of sin x + x (source) or of cos x - x (target)."""
    used = raw[:, columns_of(task, raw.shape[1])]
    terms = np.sin(used) + used if task == "source" else np.cos(used) - used
    total: Numbers = terms.sum(axis=1)
    return total


def column_scale(options: Synthetic) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation (d,) of the columns: mean from U(-10, 10), VARIANCE from U(0, 10).

    A function of seed and number of columns, so that source and target have the same inputs in law.
    """
    rng = numpy_rng(options.seed, "synthetic", "columns")
    mean: Numbers = rng.uniform(-10, 10, options.features)
    return mean, np.sqrt(rng.uniform(0, 10, options.features))


def _drawn(options: Synthetic, split: str) -> tuple[Numbers, Numbers]:
    """Standardised rows (n, d), by the known mean and s.d. of each column, and raw outputs (n,)."""
    rng = numpy_rng(options.seed, "synthetic", options.task, split)
    rows = rng.standard_normal((options.train if split == "train" else options.val, options.features))
    mean, sd = column_scale(options)
    return rows, output(options.task, mean + sd * rows)


@lru_cache(maxsize=16)
def _output_scale(options: Synthetic) -> tuple[float, float]:
    """Mean and s.d. of the training outputs: the paper's losses (0.027, 0.075) imply standardised outputs."""
    outputs = _drawn(options, "train")[1]
    return float(outputs.mean()), float(outputs.std())
