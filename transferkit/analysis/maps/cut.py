"""A model in two pieces: what comes before a layer's output, which no gradient enters, and what comes after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.model.modes import evaluating
from transferkit.model.taps import find_layer
from transferkit.model.wrapper import TransferModel
from transferkit.words.kinds import type_of

WHOLE = "forward_features"


class Cut:
    """A model cut at the output of `layer`: a module's name, or "forward_features" for the whole backbone."""

    def __init__(self, model: TransferModel, layer: str = WHOLE) -> None:
        self.net: Any = model.net
        self.layer = layer
        self.label = f"class-activation maps of {model.architecture}"
        self._module = None if layer == WHOLE else find_layer(model.net, layer)

    def features(self, images: Tensor, put: Callable[[Tensor], Tensor]) -> Tensor:
        """The features (b, d) of images; `put` gets the layer's output and returns what goes on instead.

        Raises InputError where the layer does not give one tensor, once per pass.
        """
        if self._module is None:
            return self.after(put(self._tensor(self.net.forward_features(images))))
        calls = 0

        def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
            nonlocal calls
            calls += 1
            return put(self._tensor(output))

        handle = self._module.register_forward_hook(hook)
        try:
            features = self.after(self.net.forward_features(images))
        finally:
            handle.remove()
        if calls != 1:
            raise self.refused(f"a forward pass calls it {calls} times")
        return features

    def after(self, maps: Tensor) -> Tensor:
        """The features (b, d) that follow from the backbone's output."""
        features: Tensor = self.net.forward_head(maps, pre_logits=True)
        return features

    def output(self, images: Tensor) -> Tensor:
        """The layer's output for images, without a graph."""
        kept: list[Tensor] = []

        def keep(output: Tensor) -> Tensor:
            kept.append(output.clone())
            return output

        with torch.no_grad():
            if self._module is None:
                keep(self._tensor(self.net.forward_features(images)))
            else:
                self.features(images, keep)
        return kept[0]

    def leaf(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The features (b, d), and the layer's output as the leaf from which their graph starts.

        Call it inside `undisturbed`, which sees to it that nothing before the leaf is recorded.
        """
        kept: list[Tensor] = []

        def start(output: Tensor) -> Tensor:
            kept.append(output.detach().clone().requires_grad_())
            return kept[0].clone()  # what follows may work in place, which a leaf does not allow

        with torch.enable_grad():
            features = self.features(images, start)
        return features, kept[0]

    def refused(self, reason: str) -> InputError:
        """The error that names the model, the layer and the reason."""
        where = "its forward_features" if self.layer == WHOLE else f'its layer "{self.layer}"'
        return InputError(f"no {self.label} at {where}: {reason}; name another layer (layer=…)")

    def _tensor(self, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise self.refused(f"it gives {type_of(output)}, not one tensor")
        return output


def gradients(features: Tensor, directions: Tensor, leaf: Tensor) -> Tensor:
    """∂(Σ features·directions)/∂leaf, keeping the graph; zeros where the features do not depend on the leaf.

    With directions (b, d) rows of a classifier this is each image's gradient of its class's logit.
    """
    if not features.requires_grad:
        return torch.zeros_like(leaf)
    score = (features * directions.to(features)).sum()
    (gradient,) = torch.autograd.grad(score, leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def probe_directions(features: Tensor, count: int = 3) -> list[Tensor]:
    """Some fixed directions, each the size of the features (b, d): what classes may ask of them."""
    steps = torch.arange(features.shape[1], device=features.device, dtype=torch.float64)
    return [torch.sin((1.3 + index) * steps + index).to(features).expand_as(features) for index in range(count)]


@contextmanager
def undisturbed(model: TransferModel) -> Iterator[None]:
    """Evaluation mode and no gradient to any parameter inside; afterwards all is as it was."""
    trained = [parameter for parameter in model.net.parameters() if parameter.requires_grad]
    with evaluating(model.net), torch.inference_mode(False):
        try:
            for parameter in trained:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
            model._store.clear()  # what taps collected on the way
