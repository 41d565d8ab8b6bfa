"""Batch norm in training needs two values per channel: a pass of one image is refused before it is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.model.freezing import batchnorm_layers
from transferkit.model.modes import evaluating
from transferkit.words.formats import count

if TYPE_CHECKING:
    from transferkit.training.trainer import Trainer


def refuse_lone_images(session: Trainer) -> None:
    """Raise InputError where a pass of the plan has one image, and a batch norm that trains one value per channel.

    A layer with larger maps normalises one image over its positions, and one in evaluation mode by what it knows:
    neither is refused. Whether a curriculum that follows the loss comes to a single image is not known beforehand.
    """
    apart = session.stage.stream_batchnorm == "separate"
    if not session.loader.may_be_alone(apart=apart):
        return
    loader, world = session.loader, session.accelerator.num_processes
    epochs, updates = divmod(session.total_steps, session.updates_per_epoch)
    passes = epochs * loader.steps_per_epoch + updates * session.stage.accumulate  # until the last step
    layers = _layers(session)
    found = loader.alone(passes, apart=apart) if layers else None
    if found is None:
        return
    number, stream = found
    together = f" on {world} processes" if world > 1 else ""
    if len(loader.mixed) > 1 and apart:
        what = (
            f'step {number // session.stage.accumulate} takes a single image of the stream "{stream}", which '
            "stream_batchnorm: separate passes on its own"
        )
        advice = "use stream_batchnorm: joint, a larger batch_size or other shares"
    elif len(session.train_samples) < 2 * world:
        what = f"its train split comes to {count(len(session.train_samples), 'image')}{together}"
        advice = "give more images, or a larger fraction"
    else:
        what = f"batch_size: {session.stage.batch_size} makes passes of a single image{together}"
        advice = f"use batch_size: {2 * world} or more"
    raise InputError(
        f'stage "{session.stage.name}": {what}, and the batch norm {layers[0]} then has one value per channel, which '
        f"has no variance; {advice}, or batchnorm: eval, which normalises by the statistics the model starts with"
    )


@contextmanager
def explaining_lone_images(stage: str) -> Iterator[None]:
    """Inside, torch's refusal of one value per channel becomes an InputError: plugins can make batches of any size."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f'stage "{stage}": a single image came to a batch norm that trains and has one value per channel for it, '
            "which has no variance; use a larger batch_size, stream_batchnorm: joint, or batchnorm: eval"
        ) from error


@torch.no_grad()
def _layers(session: Trainer) -> list[str]:
    """The batch norms that train at some time and, for one image, have one value per channel. One pass tells."""
    model, found = session.model, []
    trainable = session.freezing.trainable(model, session.total_epochs)
    if session.freezing.fixed_features or session.freezing.batchnorm == "eval":
        return []
    names = {layer: name for name, layer in model.net.named_modules()}

    def look(layer: nn.Module, given: tuple[Any, ...]) -> None:
        values, name = given[0], names[layer]
        own = {f"{name}.{parameter}" for parameter, _ in layer.named_parameters(recurse=False)}
        if values.numel() == values.shape[1] and (not own or own & trainable):
            found.append(name)

    image: Tensor = session.train_samples.batch(np.zeros(1, np.int64), np.zeros(1, np.int64))[0]
    with ExitStack() as hooks, evaluating(model), session.accelerator.autocast():
        for layer in batchnorm_layers(model.net):
            hooks.enter_context(layer.register_forward_pre_hook(look))
        model(image.to(session.device))
    return found
