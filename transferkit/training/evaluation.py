"""Accuracy, or the error of numbers, on a data set, every sample counted once whatever the number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from transferkit.data.batches import EvalLoader
from transferkit.errors import TransferkitError

VARIES = 1e-12  # a variance below this share of the mean square is rounding


@dataclass
class Evaluation:
    """What a model gets right: (K, K) counts, rows are true classes, columns predictions."""

    confusion: Tensor
    loss: float
    top5: float

    @property
    def images(self) -> int:
        """How many images were looked at."""
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """Share of images whose first guess is right."""
        return float(self.confusion.diagonal().sum()) / max(self.images, 1)

    @property
    def per_class(self) -> list[float]:
        """Recall per class; NaN for a class without images."""
        counts = self.confusion.sum(dim=1).double()
        return (self.confusion.diagonal().double() / counts).tolist()

    @property
    def largest_share(self) -> tuple[int, float]:
        """The class predicted most often, and its share of all predictions."""
        predicted = self.confusion.sum(dim=0)
        index = int(predicted.argmax())
        return index, float(predicted[index]) / max(self.images, 1)

    def record(self, classes: list[str]) -> dict[str, Any]:
        """For metrics.jsonl."""
        record: dict[str, Any] = {"loss": self.loss, "top1": self.top1, "images": self.images}
        if len(classes) > 5:
            record["top5"] = self.top5
        record["per_class"] = dict(zip(classes, self.per_class, strict=True))
        return record


class Regression(Evaluation):
    """How far a model of numbers is off: `loss` is the mean squared error. There are no classes and no top-1."""

    def __init__(self, rows: int, loss: float, r2: float) -> None:
        super().__init__(torch.zeros(0, 0, dtype=torch.int64), loss, math.nan)
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

    def record(self, classes: list[str]) -> dict[str, Any]:
        """For metrics.jsonl. `r2` is the share of the outputs' variance that the predictions explain."""
        return {"loss": self.loss, "top1": None, "r2": self.r2, "images": self.rows}


class _Answers:
    """Adds up right and wrong answers over batches."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.classes = num_classes
        self.confusion = torch.zeros(num_classes**2, dtype=torch.int64, device=device)
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        self.confusion += torch.bincount(labels * self.classes + logits.argmax(dim=1), minlength=self.classes**2)
        top5 = logits.topk(min(5, self.classes), dim=1).indices.eq(labels[:, None]).any(dim=1)
        self.sums += torch.stack([F.cross_entropy(logits, labels, reduction="sum").double(), top5.sum().double()])

    def result(self, accelerator: Accelerator) -> Evaluation:
        confusion = accelerator.reduce(self.confusion, "sum").cpu().reshape(self.classes, self.classes)
        loss, top5 = accelerator.reduce(self.sums, "sum").tolist()
        seen = max(int(confusion.sum()), 1)
        return Evaluation(confusion, loss / seen, top5 / seen)


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
    training = {module: module.training for module in model.modules()}
    model.eval()
    tally: _Answers | _Errors = _Answers(num_classes, accelerator.device)
    try:
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
    finally:
        for module, mode in training.items():
            module.training = mode
    found = tally.result(accelerator)
    if found.images != len(loader.samples):
        raise TransferkitError(
            f"evaluation saw {found.images} images, but the data set has {len(loader.samples)}: please report this"
        )
    return found
