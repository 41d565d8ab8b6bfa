"""How much the loss grows without each channel: DELTA's channel attention, measured.

One channel at a time is set to zero in a layer's output. What runs before that layer does not change, so its
outputs are computed once per batch and reused: only the rest of the network runs again for each channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from transferkit.model import evaluating
from transferkit_delta.forward import OrderChanged, Suffix, Whole
from transferkit_delta.record import Call, Forward, record

if TYPE_CHECKING:
    from transferkit.model import Reading


def channel_attention_raw(
    forward: Forward,
    model: nn.Module,
    layers: Mapping[str, Reading],
    batches: Sequence[tuple[Tensor, Tensor]],
    *,
    reuse: bool = True,
    advance: Callable[[int], object] = lambda channels: None,
    warn: Callable[[str], object] = lambda text: None,
) -> dict[str, Tensor]:
    """The mean over batches of (loss without a channel − loss), per layer and channel: {layer: (C,) float32}.

    forward: images -> logits, through modules of `model`; layers: {name in `model`: how its output is read};
    batches: images and labels. Runs in eval mode without gradients, and leaves modes as they were. `reuse=False`
    runs the whole network for every channel. Reuse is checked against that on one channel per layer; a layer where
    it differs is measured in full, and `warn` is told.
    """
    with torch.no_grad(), evaluating(model):
        calls = record(forward, model, batches[0][0][:2]) if reuse else []
        return {
            name: _measure(forward, model, name, reading, batches, calls, advance, warn)
            for name, reading in layers.items()
        }


def _measure(
    forward: Forward,
    model: nn.Module,
    name: str,
    reading: Reading,
    batches: Sequence[tuple[Tensor, Tensor]],
    calls: list[Call],
    advance: Callable[[int], object],
    warn: Callable[[str], object],
) -> Tensor:
    layer = model.get_submodule(name)
    passes: Suffix | Whole = Whole(forward, layer)
    if calls:
        passes = _checked(Suffix(forward, layer, calls), Whole(forward, layer), batches[0][0], reading)
        if isinstance(passes, Whole):
            warn(f"delta: {name!r} cannot reuse what runs before it; every channel takes a whole forward pass")
    per_batch = []
    for images, labels in batches:
        loss = cross_entropy(passes.fill(images), labels)
        axis = reading.channel_axis(passes.output.shape)
        losses = []
        for channel in range(passes.output.shape[axis]):
            losses.append(cross_entropy(passes.without(channel, axis), labels))
            advance(1)
        per_batch.append(torch.stack(losses) - loss)
    return torch.stack(per_batch).mean(dim=0).cpu()  # the layer's only wait for the device


def _checked(short: Suffix, whole: Whole, images: Tensor, reading: Reading) -> Suffix | Whole:
    """The short way if it gives the logits of a whole forward pass without the largest channel, else the whole."""
    whole.fill(images)
    axis = reading.channel_axis(whole.output.shape)
    channel = int(whole.output.abs().movedim(axis, 0).flatten(1).sum(dim=1).argmax())
    try:
        short.fill(images)
        logits = short.without(channel, axis)
    except OrderChanged:
        return whole
    expected = whole.without(channel, axis)
    return short if torch.allclose(logits, expected, rtol=1e-5, atol=1e-6, equal_nan=True) else whole
