"""Which maps are wanted of a batch: the class of each image, by which head, and what of it is explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.model import SourceHead, TransferModel


@dataclass(frozen=True, eq=False)
class Wanted:
    """One map per image: of the class in `classes` (b,), by `head` or else the model's own.

    `margin` explains a class's logit minus the mean of the others'; of two classes it gives one the negative
    of the other's map.
    """

    classes: Tensor | Literal["predicted"] = "predicted"
    head: SourceHead | None = None
    of: Literal["logit", "margin"] = "logit"


@dataclass(frozen=True, eq=False)
class Asked:
    """A Wanted with its classes (b,) and its head at hand: what the methods need of it."""

    classes: Tensor
    margin: bool
    weight: Tensor
    logits: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, model: TransferModel, wanted: Wanted, features: Tensor) -> Asked:
        """What is wanted of images with these features (b, d). Raises InputError for what cannot be."""
        if wanted.head is None and not isinstance(model.head, nn.Linear):
            raise InputError("class-activation maps: this model has no classifier of its own; give Wanted a head")
        weight = model.head.weight if wanted.head is None else wanted.head.weight
        logits = model.head if wanted.head is None else wanted.head.logits
        classes = wanted.classes if isinstance(wanted.classes, Tensor) else logits(features).argmax(dim=1)
        _check(wanted, classes, images=len(features), count=len(weight))
        return cls(classes.to(features.device), wanted.of == "margin", weight.detach().to(features), logits)

    @property
    def directions(self) -> Tensor:
        """(b, d): the gradient of what is explained by each image's features."""
        rows = self.weight[self.classes]
        if not self.margin:
            return rows
        count, total = len(self.weight), self.weight.double().sum(dim=0)
        return ((count * rows.double() - total) / (count - 1)).to(rows)

    @property
    def scores(self) -> list[Callable[[Tensor], Tensor]]:
        """For each image, what is explained as a function of its row of logits (K,)."""
        return [self._score(int(index)) for index in self.classes]

    def _score(self, index: int) -> Callable[[Tensor], Tensor]:
        if not self.margin:
            return lambda row: row[index]
        return lambda row: row[index] - (row.sum() - row[index]) / (len(row) - 1)


def _check(wanted: Wanted, classes: Tensor, *, images: int, count: int) -> None:
    if not isinstance(wanted.classes, Tensor) and wanted.classes != "predicted":
        raise InputError(f'class-activation maps: classes are a tensor or "predicted", not {wanted.classes!r}')
    if classes.shape != (images,) or classes.is_floating_point():
        raise InputError(f"class-activation maps: {images} images need {images} classes, not {tuple(classes.shape)}")
    if not set(classes.tolist()) <= set(range(count)):
        raise InputError(f"class-activation maps: classes must be 0..{count - 1}, the classes of the head")
    if wanted.of not in ("logit", "margin"):
        raise InputError(f'class-activation maps are of "logit" or "margin", not "{wanted.of}"')
    if wanted.of == "margin" and count < 2:
        raise InputError("class-activation maps: the margin of a class needs at least two classes")
