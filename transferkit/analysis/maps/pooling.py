"""Heads that average the map: their channel weights are known beforehand, so a map needs no backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from transferkit.analysis.maps.cut import gradients, probe_directions
from transferkit.model.layout import Layout

TOLERANCE = 1e-4
CHUNK = 64


Pooling = Callable[[Tensor], Tensor]
"""Directions (b, d) -> what each channel's mean is worth to them (b, C): features = J·(mean of the map) + constant."""


def mean_pooling(head: Callable[[Tensor], Tensor], output: Tensor, layout: Layout) -> Pooling | None:
    """The head's mean pooling, or None where it is something else.

    `head` takes the layer's output (b, …) to features (b, d). It is a mean pooling if the gradient at every
    position, of every probe input and for every probe direction is the same to 1e-4 of its largest value. The probe
    inputs go far beyond what the layer gives, to negative values too, so that no activation function goes unseen.
    """
    inputs = _probe_inputs(output, layout)
    leaf = inputs.clone().requires_grad_()
    with torch.enable_grad():
        features = head(leaf.clone())
    directions = probe_directions(features)
    weights = []
    for direction in directions:
        gradient = layout.spatial(gradients(features, direction, leaf)) * (layout.grid[0] * layout.grid[1])
        weight = gradient[0, :, 0, 0]
        if not _equal(gradient, weight[None, :, None, None]):
            return None
        weights.append(weight)
    if weights[0].shape == directions[0][0].shape and all(map(_equal, weights, (d[0] for d in directions))):
        return lambda asked: asked
    jacobian = _jacobian(head, inputs[:1], layout, features.shape[1])
    same = all(_equal(d[0] @ jacobian, weight) for d, weight in zip(directions, weights, strict=True))
    return (lambda asked: asked @ jacobian.to(asked)) if same else None


def _probe_inputs(output: Tensor, layout: Layout) -> Tensor:
    """What the layer gives, its negative, and waves of its own size, of 1 and of 100: all curves are flat from near.

    The waves differ between channels more than between positions, or they would average out.
    """
    maps = layout.spatial(output)
    channels, positions = _wave(maps[:, :, :1, :1], 1.7), _wave(maps, 0.9)
    wave = layout.restore(channels + 0.5 * positions, output)
    own = output.abs().mean()
    return torch.cat([output, -output, output + own * wave, 3 * own * wave, wave, 100 * wave, -100 * wave])


def _wave(like: Tensor, step: float) -> Tensor:
    return (
        torch.sin(step * torch.arange(like.numel(), device=like.device, dtype=torch.float64))
        .reshape(like.shape)
        .to(like)
    )


def _equal(found: Tensor, expected: Tensor) -> bool:
    largest = expected.abs().max()
    return bool(largest > 0) and bool((found - expected).abs().max() <= TOLERANCE * largest)


def _jacobian(head: Callable[[Tensor], Tensor], image: Tensor, layout: Layout, width: int) -> Tensor:
    """(d, C): the gradient of each feature by each channel's mean, from passes through the head alone."""
    rows = []
    for start in range(0, width, CHUNK):
        picked = torch.arange(start, min(start + CHUNK, width), device=image.device)
        leaf = image.expand(len(picked), *image.shape[1:]).clone().requires_grad_()
        with torch.enable_grad():
            features = head(leaf.clone())
        one_hot = torch.nn.functional.one_hot(picked, width).to(features)
        rows.append(layout.spatial(gradients(features, one_hot, leaf)).sum(dim=(2, 3)))
    return torch.cat(rows)
