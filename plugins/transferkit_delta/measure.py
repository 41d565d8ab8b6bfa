"""The channel attention of a stage: a head on frozen features, then channels off one at a time; cached by content."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from transferkit_delta.attention import channel_attention_raw
from transferkit_delta.maps import channel_axis

if TYPE_CHECKING:
    from transferkit.model import TransferModel
    from transferkit.training.session import Session

EPOCHS = 10
LEARNING_RATE = 0.01
MOMENTUM = 0.9
HEAD_BATCH = 64
HEAD_STEPS = 500  # at least: ten epochs of a few dozen images leave a head that has learned nothing
VERSION = 1  # of the procedure: older cached results are not used


def measured(session: Session, layers: Mapping[str, int | None], images: int, batch_size: int) -> dict[str, Tensor]:
    """{layer: loss increase per channel (C,)} of the stage's reference on its training images.

    Computed once: the file's name is a hash of the reference's weights, the images and everything else that
    matters. Raises ValueError when the stage has no reference.
    """
    if session.reference is None:
        raise ValueError("delta: a stage that starts from scratch has no reference whose channels could be measured")
    path = session.cache / f"delta-attention-{fingerprint(session, layers, images, batch_size)}.safetensors"
    if path.is_file():
        try:
            found = load_file(path)
            return {layer: found[layer] for layer in layers}
        except (SafetensorError, KeyError) as error:
            session.warn(f"delta: {path.name} cannot be read ({error}); the attention is measured again")
    found = _measure(session, session.reference, layers, images, batch_size)
    _save(path, found)
    return found


def _measure(
    session: Session, reference: TransferModel, layers: Mapping[str, int | None], images: int, batch_size: int
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
    channels = sum(maps[layer].shape[channel_axis(maps[layer].shape, known)] for layer, known in layers.items())
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
    with torch.no_grad(), session.progress(len(session.train_samples), "DELTA: features of the training images") as bar:
        for images, targets in session.train_samples.evaluation_batches(batch_size, session.device):
            features.append(reference(images).features.float())
            labels.append(targets)
            kept |= {place[done + row]: image for row, image in enumerate(images) if done + row in place}
            done += len(images)
            bar.advance(len(images))
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


def fingerprint(session: Session, layers: Mapping[str, int | None], images: int, batch_size: int) -> str:
    """A hash of everything the measurement depends on."""
    assert session.reference is not None
    digest = hashlib.sha256()
    for name, tensor in sorted(session.reference.net.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    facts = {
        "version": VERSION,
        "layers": list(layers),
        "images": images,
        "batch_size": batch_size,
        "seed": session.seed,
        "stage": session.stage.name,
        "preprocessing": repr(session.reference.preprocessing),
        "data": session.train_samples.fingerprint(),
    }
    digest.update(json.dumps(facts).encode())
    return digest.hexdigest()[:32]


def _save(path: Path, found: dict[str, Tensor]) -> None:
    """Never half a file under the final name, also when several processes write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_file = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        save_file(found, partial_file)
        partial_file.replace(path)
    finally:
        partial_file.unlink(missing_ok=True)
