"""GradCAM without a backward pass through the backbone: from the map on, or in closed form where the head averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferkit.analysis.maps.cut import WHOLE, gradients, undisturbed
from transferkit.analysis.maps.library import OURS, find_method, library_maps, method_key
from transferkit.analysis.maps.pooling import Pooling, mean_pooling
from transferkit.analysis.maps.target import choose
from transferkit.errors import InputError
from transferkit.model.compatibility import probe_batch
from transferkit.model.wrapper import SourceHead, TransferModel


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
        _check_wanted(wanted, classes, images=len(features), count=len(weight))
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


@dataclass(frozen=True, eq=False)
class MapsOutput:
    """Of one batch: features (b, d), the own head's logits (b, K), and per wanted the maps and which are empty.

    `maps` are (b, h, w) float32, after the ReLU and not normalised; `empty` (b,) is true where a map is all zero.
    """

    features: Tensor
    logits: Tensor
    maps: list[Tensor]
    empty: list[Tensor]


class ActivationMaps:
    """Class-activation maps of a model, at the last place where classes depend on positions, or at `layer`.

    `method` is "gradcam" or any of the package grad-cam's methods by its name. The model's parameters may be
    frozen or not; hooks, gradients, modes and random generators are left as they were.
    Attributes: `layer` ("forward_features" or a module's name), `grid` (h, w), `closed_form` (no backward pass at
    all). Raises InputError, by name and reason, for models and layers without such a map, and for unknown methods.
    """

    def __init__(self, model: TransferModel, *, method: str = OURS, layer: str | None = None) -> None:
        self.model = model
        self.method = method
        self._library = None if method_key(method) == OURS else find_method(method)
        with undisturbed(model):
            self._cut, self._layout = choose(model, layer)
            self._pooling = None
            if self._library is None and self._cut.layer == WHOLE:
                output = self._cut.output(probe_batch(model, 2))
                self._pooling = mean_pooling(self._cut.after, output, self._layout)
        self.layer = self._cut.layer
        self.grid = self._layout.grid
        self.closed_form = self._pooling is not None

    def __call__(self, images: Tensor, *wanted: Wanted) -> MapsOutput:
        """Maps of images (b, C, H, W), which are of the model's input size: one forward pass for all wanted.

        GradCAM: ReLU(Σ_c w_c·A_c) with w_c the mean over positions of ∂logit/∂A_c. Methods of the package
        grad-cam take a further pass, or many, per wanted.
        """
        self._check(images)
        images = images.detach()
        with undisturbed(self.model):
            if self._library is not None:
                features, weigh = self._by_library(images, self._library)
            elif self._pooling is not None:
                features, weigh = self._in_closed_form(images, self._pooling)
            else:
                features, weigh = self._by_gradient(images)
            logits = self.model.head(features.detach())
            asked = [Asked.of(self.model, want, features.detach()) for want in wanted]
            maps = [weigh(want).detach().float().relu() for want in asked]
        empty = [(each == 0).flatten(1).all(dim=1) for each in maps]
        return MapsOutput(features.detach(), logits.detach(), maps, empty)

    def _check(self, images: Tensor) -> None:
        size = self.model.preprocessing.input_size
        if images.dim() != 4 or tuple(images.shape[-2:]) != size:
            raise InputError(
                f"class-activation maps: images of shape {tuple(images.shape)}, but this model takes "
                f"(b, {self.model.preprocessing.in_chans}, {size[0]}, {size[1]}); use the model's preprocessing"
            )

    def _in_closed_form(self, images: Tensor, pooling: Pooling) -> tuple[Tensor, Callable[[Asked], Tensor]]:
        with torch.no_grad():
            output = self._cut.net.forward_features(images)
            features = self._cut.after(output)
        positions = self.grid[0] * self.grid[1]
        return features, lambda asked: self._weighted(pooling(asked.directions) / positions, output)

    def _by_gradient(self, images: Tensor) -> tuple[Tensor, Callable[[Asked], Tensor]]:
        features, leaf = self._cut.leaf(images)

        def weigh(asked: Asked) -> Tensor:
            gradient = self._layout.spatial(gradients(features, asked.directions, leaf))
            return self._weighted(gradient.mean(dim=(2, 3)), leaf.detach())

        return features, weigh

    def _weighted(self, weights: Tensor, output: Tensor) -> Tensor:
        """Σ_c w_c·A_c: weights (b, C) over the map in the layer's output -> (b, h, w)."""
        maps = self._layout.spatial(output)
        return torch.einsum("bc,bchw->bhw", weights.to(maps), maps)

    def _by_library(self, images: Tensor, method: type[Any]) -> tuple[Tensor, Callable[[Asked], Tensor]]:
        with torch.no_grad():
            features = self._cut.features(images, lambda output: output)
        return features, lambda asked: library_maps(method, self._cut, self._layout, images, asked.logits, asked.scores)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (b, h, w) at size (H, W), bilinear between the centres of the cells: (b, H, W)."""
    return nn.functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _check_wanted(wanted: Wanted, classes: Tensor, *, images: int, count: int) -> None:
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
