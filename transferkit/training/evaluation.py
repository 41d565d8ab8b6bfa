"""Accuracy, or the error of numbers, on a data set, every sample counted once whatever the number of processes.

And which epoch was the best so far, by the validation split alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from transferkit.data.batches import EvalLoader
from transferkit.errors import TransferkitError
from transferkit.model.modes import evaluating
from transferkit.recipe import schema
from transferkit.recipe.selection import Selection
from transferkit.training.scoring import Scores

if TYPE_CHECKING:
    from transferkit.plugins.hooks import Call
    from transferkit.training.workspace import State

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
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """{metric: {name: number}}: what the stage's plugins say of all logits."""
    indices: Tensor | None = None
    """(n,) int64: which sample of the data set each of these images is."""
    probability: Tensor | None = None
    """(n,) float32: that of the predicted class."""

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
        return record | self._of_plugins

    @property
    def _of_plugins(self) -> dict[str, Any]:
        return {"metrics": self.metrics} if self.metrics else {}

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
        return {"loss": self.loss, "top1": None, "r2": self.r2, "images": self.rows} | self._of_plugins


class _Answers:
    """Adds up right and wrong answers over batches."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.classes = num_classes
        # (3, n): sample, true, predicted; and (n,) the probability of that
        self.answers: list[Tensor] = [torch.zeros(3, 0, dtype=torch.int64, device=device)]
        self.probabilities: list[Tensor] = [torch.zeros(0, device=device)]
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, indices: Tensor, logits: Tensor, labels: Tensor) -> None:
        """A batch: which samples (n,), logits (n, K), labels (n,). Memory grows by 28 bytes an image, whatever K is."""
        predicted = logits.argmax(dim=1)
        self.answers.append(torch.stack([indices.to(labels.device), labels, predicted]))
        self.probabilities.append(logits.softmax(dim=1).gather(1, predicted[:, None]).flatten())
        top5 = logits.topk(min(5, self.classes), dim=1).indices.eq(labels[:, None]).any(dim=1)
        self.sums += torch.stack([F.cross_entropy(logits, labels, reduction="sum").double(), top5.sum().double()])

    def result(self, accelerator: Accelerator) -> Evaluation:
        answers, probabilities = torch.cat(self.answers, dim=1), torch.cat(self.probabilities)
        if accelerator.num_processes > 1:
            shared = accelerator.gather(accelerator.pad_across_processes(answers.T.contiguous(), pad_index=-1))
            every = accelerator.gather(accelerator.pad_across_processes(probabilities, pad_index=-1))
            answers, probabilities = shared[shared[:, 0] >= 0].T, every[every >= 0]
        indices, true, predicted = answers.cpu()
        loss, top5 = accelerator.reduce(self.sums, "sum").tolist()
        seen = max(len(true), 1)
        about = {"indices": indices, "probability": probabilities.cpu()}
        return Evaluation(true, predicted, self.classes, loss / seen, top5 / seen, **about)


class _Errors:
    """Adds up squared errors of numbers over batches."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)

    def add(self, indices: Tensor, outputs: Tensor, labels: Tensor) -> None:
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
    metrics: Sequence[Call] = (),
    keep: Scores | None = None,
) -> Evaluation:
    """Evaluate the (unwrapped) model in eval mode; its mode is restored. Counts are summed over processes.

    Labels that are numbers (a table's) give a Regression. `each_batch(images)` is called after every batch: it
    shows progress, and may raise to stop. For `metrics`, implementations of `score`, all logits are kept, 4 bytes per
    image and class in each process; `keep` is given them, too.
    """
    tally: _Answers | _Errors = _Answers(num_classes, accelerator.device)
    scores = Scores(metrics, loader.samples) if metrics and keep is None else keep
    with evaluating(model):
        for batch in loader:
            images, labels = (part["target"] for part in batch.on(accelerator.device))
            if labels.is_floating_point() and isinstance(tally, _Answers):
                tally = _Errors(accelerator.device)
            if channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            with accelerator.autocast():
                logits = model(images).logits
            logits = logits.float()
            tally.add(batch.indices["target"], logits, labels)
            if scores is not None:
                scores.add(batch.indices["target"], logits, labels)
            each_batch(len(labels))
    found = tally.result(accelerator)
    if found.images != len(loader.samples):
        raise TransferkitError(
            f"evaluation saw {found.images} images, but the data set has {len(loader.samples)}: please report this"
        )
    if scores is not None:
        found.metrics = scores.result(accelerator)
    return found


def remember(
    state: State,
    stopping: schema.EarlyStopping | None,
    validation: Evaluation | None,
    train: Mapping[str, Any],
    chosen: Selection = Selection(),  # noqa: B008, it is frozen
) -> bool:
    """Note this epoch's result, and whether it is the best. Without a validation split the last is the best.

    The best has the highest accuracy, and of equal ones the lowest loss; or the lowest loss where that is chosen, or
    where there is no accuracy (`top1` is None then); or most, or least, of a metric's number. Raises InputError where
    the metric does not return it.
    """
    split, of = ("train", train) if validation is None else ("val", {"top1": validation.top1, "loss": validation.loss})
    top1 = None if math.isnan(of["top1"]) else of["top1"]
    state.last = {"epoch": state.epoch, "top1": top1, "loss": of["loss"], "split": split}
    if validation is not None and (value := chosen.value(validation.metrics)) is not None:
        state.last |= {"select": chosen.name, "selected": value}
    if validation is None or state.best is None or better(state.last, state.best, chosen):
        state.best, state.waited = dict(state.last), 0
        return True
    state.waited += 1
    state.stopped_early = stopping is not None and state.waited >= stopping.patience
    return False


def better(new: Mapping[str, Any], old: Mapping[str, Any], chosen: Selection) -> bool:
    """Whether a result beats another. What is no number is worse than any, and beaten by any."""
    loss, before = (math.inf if math.isnan(item["loss"]) else item["loss"] for item in (new, old))
    if chosen.instance:
        value, known = (_worth(item.get("selected"), chosen.sign) for item in (new, old))
        return bool(value > -math.inf and (value, -loss) > (known, -before))
    if chosen.name == "loss" or new["top1"] is None or old["top1"] is None:
        return bool(loss < before)
    return bool((new["top1"], -loss) > (old["top1"], -before))


def _worth(value: float | None, sign: int) -> float:
    """The more, the better; least where there is no number."""
    return -math.inf if value is None or math.isnan(value) else sign * value
