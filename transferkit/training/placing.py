"""From a loaded batch to what the model sees: on the device, mixed and combined where the recipe says so."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transferkit.data.randomness import seeded
from transferkit.data.streams import Combined
from transferkit.errors import InputError
from transferkit.training.loaders import joint_labels, mixed
from transferkit.training.offers import BatchOffer, CombineOffer

if TYPE_CHECKING:
    from transferkit.data.batches import Batch
    from transferkit.training.session import Session


def place(session: Session, batch: Batch) -> Combined:
    """Images and labels by stream. All that is random here is keyed by the step and the process."""
    images, labels = batch.on(session.device)
    if session.stage.channels_last:
        images = {name: x.contiguous(memory_format=torch.channels_last) for name, x in images.items()}
    state = session.state
    key = ("batch", state.step, state.batch, session.accelerator.process_index)
    if "target" in labels:  # a curriculum may leave the target out of a batch
        _transform(session, images, labels, key)
    given = Combined(images, labels)
    for call in session.combine:
        rng = partial(session.rng, *key, "combine")
        offer = CombineOffer(rng, given.images, given.labels, state.step, state.epoch, session.progress_made)
        given = call(offer)
        if not isinstance(given, Combined):
            raise InputError(f"{call.plugin} returned a {type(given).__name__} from combine; return a Combined")
    if session.model.joint_heads:
        given = replace(given, labels=joint_labels(given.labels, session.model))
    return given


def _transform(
    session: Session, images: dict[str, Tensor], labels: dict[str, Tensor], key: tuple[str | int, ...]
) -> None:
    """The target's images through mixup and the plugins' `transform_batch`."""
    if session.mixup is not None and len(labels["target"]) > 1:
        with seeded(session.seed, session.stage.name, *key):
            images["target"], labels["target"] = mixed(session.mixup, images["target"], labels["target"])
    for index, call in enumerate(session.transform_batch):
        offer = BatchOffer(partial(session.rng, *key, index), images["target"], labels["target"])
        images["target"], labels["target"] = call(offer)
