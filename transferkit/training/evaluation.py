"""Accuracy, or the error of numbers, on a data set, every sample counted once whatever the number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from transferkit.data.batches import EvalLoader
from transferkit.errors import TransferkitError

LISTED_CLASSES = 1000  # of how many a line of metrics.jsonl lists each
VARIES = 1e-12  # a variance below this share of the mean square is rounding


@dataclass
class Evaluation:
    """What a model gets right: of every image the true class and the predicted one, (n,) int64 each."""

    true: Tensor
    predicted: Tensor
    num_classes: int
    loss: float
    top5: float

    @property
    def images(self) -> int:
        """How many images were looked at."""
        return len(self.true)

    @property
    def top1(self) -> float:
        """Share of images whose first guess is right."""
        return float(self.true.eq(self.predicted).sum()) / max(self.images, 1)

    @property
    def per_class(self) -> list[float]:
        """Recall per class; NaN for a class without images."""
        right = self._counts(self.true[self.true == self.predicted])
        return (right.double() / self.counts.double()).tolist()

    @property
    def counts(self) -> Tensor:
        """(K,) int64: images of each class."""
        return self._counts(self.true)

    @property
    def largest_share(self) -> tuple[int, float]:
        """The class predicted most often, and its share of all predictions."""
        predicted = self._counts(self.predicted)
        index = int(predicted.argmax())
        return index, float(predicted[index]) / max(self.images, 1)

    @property
    def confusion(self) -> Tensor:
        """(K, K) int64 counts, made when asked for: rows are true classes, columns predictions. K² numbers."""
        size = self.num_classes
        return torch.bincount(self.true * size + self.predicted, minlength=size**2).reshape(size, size)

    def confused(self) -> list[list[int]]:
        """[true class, predicted class, images] of every pair that occurs, sorted: what is not 0 in `confusion`."""
        codes, counts = np.unique((self.true * self.num_classes + self.predicted).numpy(), return_counts=True)
        pairs: list[list[int]] = np.stack([*divmod(codes, self.num_classes), counts], axis=1).tolist()
        return pairs

    def record(self, classes: list[str], *, every_class: bool = False) -> dict[str, Any]:
        """For metrics.jsonl; recalls of more than 1000 classes, which nobody reads line by line, only if asked for."""
        record: dict[str, Any] = {"loss": self.loss, "top1": self.top1, "images": self.images}
        if len(classes) > 5:
            record["top5"] = self.top5
        if every_class or len(classes) <= LISTED_CLASSES:
            record["per_class"] = dict(zip(classes, self.per_class, strict=True))
        return record

    def _counts(self, labels: Tensor) -> Tensor:
        return torch.bincount(labels, minlength=self.num_classes)


class Regression(Evaluation):
    """How far a model of numbers is off: `loss` is the mean squared error. There are no classes and no top-1."""

    def __init__(self, rows: int, loss: float, r2: float) -> None:
        nothing = torch.zeros(0, dtype=torch.int64)
        super().__init__(nothing, nothing, 0, loss, math.nan)
        self.rows, self.r2 = rows, r2

    @property
    def images(self) -> int:
        """How many rows were looked at."""
        return self.rows

    @property
    def top1(self) -> float:
        """NaN: numbers are not right or wrong."""
        return math.nan

    @property
    def largest_share(self) -> tuple[int, float]:
        """There are no classes: (0, NaN)."""
        return 0, math.nan

    def record(self, classes: list[str], *, every_class: bool = False) -> dict[str, Any]:
        """For metrics.jsonl. `r2` is the share of the outputs' variance that the predictions explain."""
        return {"loss": self.loss, "top1": None, "r2": self.r2, "images": self.rows}


class _Answers:
    """Adds up right and wrong answers over batches."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.classes = num_classes
        self.answers: list[Tensor] = [torch.zeros(2, 0, dtype=torch.int64, device=device)]  # (2, n): true, predicted
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """A batch: logits (n, K), labels (n,). Memory grows by 16 bytes an image, whatever K is."""
        self.answers.append(torch.stack([labels, logits.argmax(dim=1)]))
        top5 = logits.topk(min(5, self.classes), dim=1).indices.eq(labels[:, None]).any(dim=1)
        self.sums += torch.stack([F.cross_entropy(logits, labels, reduction="sum").double(), top5.sum().double()])

    def result(self, accelerator: Accelerator) -> Evaluation:
        answers = torch.cat(self.answers, dim=1)
        if accelerator.num_processes > 1:
            shared = accelerator.gather(accelerator.pad_across_processes(answers.T.contiguous(), pad_index=-1))
            answers = shared[shared[:, 0] >= 0].T
        true, predicted = answers.cpu()
        loss, top5 = accelerator.reduce(self.sums, "sum").tolist()
        seen = max(len(true), 1)
        return Evaluation(true, predicted, self.classes, loss / seen, top5 / seen)


class _Errors:
    """Adds up squared errors of numbers over batches."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        wanted = labels.double()
        error = (outputs.double() - wanted[:, None]).square().mean(dim=1).sum()
        self.sums += torch.stack([torch.ones_like(wanted).sum(), error, wanted.sum(), wanted.square().sum()])

    def result(self, accelerator: Accelerator) -> Regression:
        rows, error, total, squares = accelerator.reduce(self.sums, "sum").tolist()
        rows = int(rows)
        variance = squares / max(rows, 1) - (total / max(rows, 1)) ** 2
        loss = error / max(rows, 1)
        return Regression(rows, loss, 1 - loss / variance if variance > VARIES * squares / max(rows, 1) else math.nan)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode; afterwards each of its modules is in the mode it was in."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: EvalLoader,
    accelerator: Accelerator,
    num_classes: int,
    *,
    channels_last: bool = False,
    each_batch: Callable[[int], None] = lambda images: None,
) -> Evaluation:
    """Evaluate the (unwrapped) model in eval mode; its mode is restored. Counts are summed over processes.

    Labels that are numbers (a table's) give a Regression. `each_batch(images)` is called after every batch: it
    shows progress, and may raise to stop.
    """
    tally: _Answers | _Errors = _Answers(num_classes, accelerator.device)
    with evaluating(model):
        for batch in loader:
            images, labels = (part["target"] for part in batch.on(accelerator.device))
            if labels.is_floating_point() and isinstance(tally, _Answers):
                tally = _Errors(accelerator.device)
            if channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            with accelerator.autocast():
                logits = model(images).logits
            tally.add(logits.float(), labels)
            each_batch(len(labels))
    found = tally.result(accelerator)
    if found.images != len(loader.samples):
        raise TransferkitError(
            f"evaluation saw {found.images} images, but the data set has {len(loader.samples)}: please report this"
        )
    return found
