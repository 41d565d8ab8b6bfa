"""Whether a timm model can be wrapped, answered by its structure and by one small pass through it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import Tensor, nn

import transferkit.model.nets  # noqa: F401, timm knows these architectures from here on
from transferkit.errors import InputError, Problem
from transferkit.model import taps as tapping
from transferkit.model.modes import evaluating
from transferkit.words.kinds import reason

if TYPE_CHECKING:
    from transferkit.model.wrapper import TransferModel

TWO_HEADS = "it has two classifiers (a distilled model), whose outputs it averages"
ELSEWHERE = "use a model with one linear classifier, e.g. resnet50 or vit_small_patch16_224"


def require_one_head(net: Any, label: str) -> None:
    """Refuse, by name, a model whose classifier is not one linear layer (none at all is fine)."""
    head = net.get_classifier() if hasattr(net, "get_classifier") else None
    if isinstance(head, nn.Linear | nn.Identity):
        return
    if isinstance(head, tuple | list) or hasattr(net, "head_dist"):
        reason = TWO_HEADS
    else:
        reason = f"its classifier is not one linear layer ({type(head).__name__})"
    raise refused(label, reason)


def refused(label: str, reason: str) -> InputError:
    """The error that refuses a model by name, with the reason and something that works."""
    plain = label.split(".")[0].replace("_distilled", "")
    other = plain if plain != label.split(".")[0] and timm.is_model(plain) else None
    hint = f"use {other} instead" if other else ELSEWHERE
    return InputError(Problem("model.name", f"{label} cannot be used: {reason}", hint))


def check_forward(model: TransferModel, label: str) -> None:
    """One image through both routes: the wrapper's logits must be the model's own.

    Raises InputError, by name, for models where they are not, and for image sizes the model cannot take.
    """
    images = probe_batch(model, 1)
    with evaluating(model), torch.no_grad():
        try:
            expected = model.net(images)
        except Exception as error:
            height, width = model.preprocessing.input_size
            raise InputError(
                Problem(
                    "model.preprocessing.input_size",
                    f"{label} cannot take images of {height}x{width} pixels and "
                    f"{model.preprocessing.in_chans} channels: {reason(error)}",
                    "leave input_size out to use the model's own, or choose a multiple of its patch size",
                )
            ) from error
        try:
            output = model(images)
        except (AttributeError, TypeError, RuntimeError) as error:
            raise refused(label, f"it gives no pooled features before its classifier ({reason(error)})") from error
    if not isinstance(expected, Tensor) or not expected.isfinite().all():
        raise InputError(f"{label} gives outputs that are not finite numbers; its weights are damaged")
    if output.features.dim() != 2 or output.logits.shape != expected.shape:
        raise refused(label, "its pooled features are not one vector per image")
    if not torch.allclose(output.logits, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())):
        raise refused(label, "its logits are not one linear layer over its pooled features")


def check_taps(model: TransferModel, added: Mapping[str, tapping.Tap], store: dict[str, Tensor]) -> None:
    """See that each tapped layer is reached, and mark those whose output is later changed in place.

    Raises InputError for a layer that the backbone's forward pass does not call.
    """
    versions: dict[str, int] = {}

    def watch(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        versions[name] = tapping.first_tensor(output)._version

    watchers = [tapping.find_layer(model.net, name).register_forward_hook(partial(watch, name)) for name in added]
    net: Any = model.net
    store.clear()
    try:
        with evaluating(net), torch.no_grad():
            net.forward_head(net.forward_features(probe_batch(model, 1)), pre_logits=True)
        for name, tap in added.items():
            if name not in store:
                raise InputError(f'layer "{name}" is not part of the backbone\'s forward pass: it cannot be tapped')
            tap.copy = store[name]._version != versions[name]
    finally:
        for watcher in watchers:
            watcher.remove()
        store.clear()


def probe_batch(model: TransferModel, size: int) -> Tensor:
    """A fixed batch of the model's input shape; it draws nothing from any random generator."""
    like = next(model.net.parameters())
    shape = (size, model.preprocessing.in_chans, *model.preprocessing.input_size)
    values = torch.arange(torch.Size(shape).numel(), device=like.device, dtype=torch.float64)
    return torch.sin(values * 0.37).reshape(shape).to(like.dtype)
