"""The channel attention of a stage: a head on frozen features, then channels off one at a time; cached by content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from transferkit.model import backbone_digest, outputs
from transferkit_delta.attention import channel_attention_raw

if TYPE_CHECKING:
    from transferkit import Session
    from transferkit.model import Reading, TransferModel

EPOCHS = 10
LEARNING_RATE = 0.01
MOMENTUM = 0.9
HEAD_BATCH = 64
HEAD_STEPS = 500  # at least: ten epochs of a few dozen images leave a head that has learned nothing
VERSION = 2  # of the procedure: older cached results are not used


def measured(session: Session, layers: Mapping[str, Reading], images: int, batch_size: int) -> dict[str, Tensor]:
    """{layer: loss increase per channel (C,)} of the stage's reference on its training images.

    Computed once for the reference's weights, the images and everything else that matters. Raises ValueError when
    the stage has no reference.
    """
    reference = session.reference
    if reference is None:
        raise ValueError("delta: a stage that starts from scratch has no reference whose channels could be measured")
    facts = facts_of(session, reference, layers, images, batch_size)
    return session.cached(facts, lambda: _measure(session, reference, layers, images, batch_size))


def _measure(
    session: Session, reference: TransferModel, layers: Mapping[str, Reading], images: int, batch_size: int
) -> dict[str, Tensor]:
    chosen = session.rng("delta", "images").permutation(len(session.train_samples))[:images]
    features, labels, pictures = _features(session, reference, chosen, batch_size)
    order = session.rng("delta", "head")
    weight, bias = train_head(features, labels, len(session.train_samples.classes), order)
    targets = labels[torch.from_numpy(chosen).to(labels.device)]
    batches = list(zip(torch.split(pictures, batch_size), torch.split(targets, batch_size), strict=True))

    def forward(batch: Tensor) -> Tensor:
        return linear(reference(batch).features.float(), weight, bias)

    with torch.no_grad():
        maps = reference(pictures[:1]).taps
    channels = sum(reading.channels_first(maps[layer]).shape[1] for layer, reading in layers.items())
    with session.progress(channels * len(batches), "DELTA: measuring channel attention") as bar:
        return channel_attention_raw(forward, reference.net, layers, batches, advance=bar.advance, warn=session.warn)


def _features(
    session: Session, reference: TransferModel, chosen: np.ndarray, batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Features and labels of all training images on the deterministic transform, and the chosen images."""
    place = {int(index): position for position, index in enumerate(chosen)}
    features: list[Tensor] = []
    labels: list[Tensor] = []
    kept: dict[int, Tensor] = {}
    done = 0
    text = "DELTA: features of the training images"
    for images, targets, output in outputs(
        reference, session.train_samples, session.progress, text, batch_size=batch_size
    ):
        features.append(output.features.float())
        labels.append(targets)
        kept |= {place[done + row]: image for row, image in enumerate(images) if done + row in place}
        done += len(images)
    return torch.cat(features), torch.cat(labels), torch.stack([kept[position] for position in range(len(chosen))])


def train_head(features: Tensor, labels: Tensor, classes: int, order: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A linear classifier on fixed features (n, d): weight (classes, d) and bias, by DELTA's schedule.

    SGD from zero with momentum 0.9 at a rate of 0.01 that falls to a tenth over six tenths of the training:
    ten epochs, or as many as make 500 steps. On features so long that 0.01 would diverge, the rate is half the
    stability limit of the softmax instead, 3.8/mean‖f‖².
    """
    epochs = max(EPOCHS, math.ceil(HEAD_STEPS / math.ceil(len(features) / HEAD_BATCH)))
    with torch.enable_grad():
        weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
        bias = torch.zeros(classes, device=features.device, requires_grad=True)
        length = float(features.square().sum(dim=1).mean()) + 1.0  # the bias counts as a feature of 1
        optimizer = torch.optim.SGD([weight, bias], lr=min(LEARNING_RATE, 3.8 / length), momentum=MOMENTUM)
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / (0.6 * epochs)))
        for _ in range(epochs):
            shuffled = torch.from_numpy(order.permutation(len(features))).to(features.device)
            for batch in torch.split(shuffled, HEAD_BATCH):
                loss = cross_entropy(linear(features[batch], weight, bias), labels[batch])
                weight.grad, bias.grad = torch.autograd.grad(loss, [weight, bias])
                optimizer.step()
            decay.step()
    return weight.detach(), bias.detach()


def facts_of(
    session: Session, reference: TransferModel, layers: Mapping[str, Reading], images: int, batch_size: int
) -> dict[str, Any]:
    """Everything the measurement depends on."""
    return {
        "what": "delta attention",
        "version": VERSION,
        "model": backbone_digest(reference),
        "layers": list(layers),
        "images": images,
        "batch_size": batch_size,
        "seed": session.seed,
        "stage": session.stage.name,
        "data": session.train_samples.fingerprint(),
    }
