"""GradCAM without a backward pass through the backbone: from the map on, or in closed form where the head averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.analysis.maps.cut import WHOLE, Cut, gradients, undisturbed
from transferkit.analysis.maps.layout import Layout
from transferkit.analysis.maps.library import OURS, find_method, library_maps, method_key
from transferkit.analysis.maps.pooling import MeanPooling, mean_pooling
from transferkit.analysis.maps.target import choose
from transferkit.analysis.maps.wanted import Asked, Wanted
from transferkit.errors import InputError
from transferkit.model import TransferModel
from transferkit.model.compatibility import probe_batch


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
            self._pooling = None if self._library else _pooling(model, self._cut, self._layout)
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

    def _in_closed_form(self, images: Tensor, pooling: MeanPooling) -> tuple[Tensor, Callable[[Asked], Tensor]]:
        with torch.no_grad():
            output = self._cut.net.forward_features(images)
            features = self._cut.after(output)
        positions = self.grid[0] * self.grid[1]
        return features, lambda asked: self._weighted(pooling.channel_weights(asked.directions) / positions, output)

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


def _pooling(model: TransferModel, cut: Cut, layout: Layout) -> MeanPooling | None:
    if cut.layer != WHOLE:
        return None
    return mean_pooling(cut.after, cut.output(probe_batch(model, 2)), layout)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (b, h, w) at size (H, W), bilinear between the centres of the cells: (b, H, W)."""
    return nn.functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
