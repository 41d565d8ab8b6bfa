"""Accuracy and loss on a data set, every sample counted once whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from transferkit.data.batches import EvalLoader
from transferkit.errors import TransferkitError


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

    `each_batch(images)` is called after every batch: it shows progress, and may raise to stop.
    """
    training = {module: module.training for module in model.modules()}
    model.eval()
    confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=accelerator.device)
    sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    try:
        for batch in loader:
            images = batch.images["target"].to(accelerator.device, non_blocking=True)
            labels = batch.labels["target"].to(accelerator.device, non_blocking=True)
            if channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            with accelerator.autocast():
                logits = model(images).logits
            logits = logits.float()
            confusion += torch.bincount(labels * num_classes + logits.argmax(dim=1), minlength=num_classes**2)
            top5 = logits.topk(min(5, num_classes), dim=1).indices.eq(labels[:, None]).any(dim=1)
            sums += torch.stack([F.cross_entropy(logits, labels, reduction="sum").double(), top5.sum().double()])
            each_batch(len(labels))
    finally:
        for module, mode in training.items():
            module.training = mode
    confusion = accelerator.reduce(confusion, "sum").cpu().reshape(num_classes, num_classes)
    loss, top5 = accelerator.reduce(sums, "sum").tolist()
    seen = int(confusion.sum())
    if seen != len(loader.samples):
        raise TransferkitError(
            f"evaluation saw {seen} images, but the data set has {len(loader.samples)}: please report this"
        )
    return Evaluation(confusion, loss / max(seen, 1), top5 / max(seen, 1))
