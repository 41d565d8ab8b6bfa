"""The promises of `combine` and `transform_features`: what stands between the loader and the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from transferkit.data.randomness import numpy_rng, seeded
from transferkit.data.streams import Combined
from transferkit.errors import InputError
from transferkit.testing.subject import Hook, Subject, unchanged
from transferkit.testing.tiny import tiny_images, tiny_labels
from transferkit.words.kinds import type_of

BATCH = 8
TARGET = "target"


def check_combine(hook: Hook) -> None:
    """Images, labels and weights by stream that a forward pass can take; the same for the same key.

    The streams are those that `streams` gives in the tiny session, or one called "source".
    """
    names = _streams(hook.subject)

    def combined() -> Combined:
        images = {name: tiny_images(BATCH, seed) for seed, name in enumerate(names)}
        labels = {name: tiny_labels(BATCH) for name in names}
        lent = {f'images["{name}"]': part for name, part in images.items()}
        lent |= {f'labels["{name}"]': part for name, part in labels.items()}
        rng = numpy_rng("check", "combine")
        value = hook(lent, images=images, labels=labels, step=1, epoch=0, progress=0.25, rng=rng)
        if not isinstance(value, Combined):
            raise hook.broken(f"must return a transferkit.Combined, not {type_of(value)}")
        return value

    found = combined()
    _check_batch(hook, found, tiny_images(1).shape[1:])
    _check_weights(hook, found)
    if not _same(found, combined()):
        raise hook.broken("gives another result for the same batch and key; draw from `rng` only")


def _streams(subject: Subject) -> list[str]:
    streams = subject.hook("streams")
    try:
        given = ["source"] if streams is None else streams.call(SimpleNamespace(session=subject.session))
    except Exception:  # it may need data that only a real run has
        given = ["source"]
    return list(dict.fromkeys([TARGET, *given]))


def _check_batch(hook: Hook, found: Combined, shape: torch.Size) -> None:
    if not found.images or set(found.images) != set(found.labels):
        given = f"images of {sorted(found.images)} and labels of {sorted(found.labels)}"
        raise hook.broken(f"returns {given}; every stream needs both, and there must be one")
    for name, images in found.images.items():
        labels = found.labels[name]
        if images.shape[1:] != shape or labels.ndim not in (1, 2) or len(labels) != len(images):
            raise hook.broken(
                f"returns images {tuple(images.shape)} and labels {tuple(labels.shape)} of the stream {name}; "
                "the images' shape must stay, and labels are (n,) or (n, K)"
            )
        if not torch.isfinite(images).all():
            raise AssertionError(f"{hook.where}: the images of the stream {name} are not finite")


def _check_weights(hook: Hook, found: Combined) -> None:
    unknown = [name for name in found.weights if name not in found.images]
    if unknown:
        raise hook.broken(f"gives a weight to {unknown[0]}, of which it returns no images")
    wrong = {name: weight for name, weight in found.weights.items() if not _is_weight(weight)}
    if wrong:
        raise hook.broken(f"returns the weights {wrong}; a stream's weight is a finite number of at least 0")


def _is_weight(weight: Any) -> bool:
    return isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0


def _same(one: Combined, other: Combined) -> bool:
    def alike(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    return alike(one.images, other.images) and alike(one.labels, other.labels) and one.weights == other.weights


def check_transform_features(hook: Hook) -> None:
    """Features of the shape that came in, finite, through which gradients flow; on bfloat16 and one image as well.

    It may draw from torch's global generator, which a run keys to the step.
    """
    features, first = _transformed(hook)
    if not torch.equal(first, _transformed(hook)[1]):
        raise hook.broken("gives another result for the same features; it must be a function of them")
    _check_gradient(hook, features, first)
    half = replace(hook, where=f"{hook.where} on features that were computed in bfloat16")
    _check_gradient(half, *_transformed(half, dtype=torch.bfloat16))
    try:
        _transformed(
            replace(hook, where=f"{hook.where} for a batch of one image"), 1, refusals=(InputError, ValueError)
        )
    except (InputError, ValueError) as error:
        if not str(error).strip():
            raise hook.broken("refuses a batch of one image without saying why") from error


def _transformed(
    hook: Hook, size: int = BATCH, *, dtype: torch.dtype = torch.float32, refusals: tuple[type[Exception], ...] = ()
) -> tuple[Tensor, Tensor]:
    """Features that want a gradient, and what the plugin makes of them."""
    with torch.no_grad():
        features = hook.subject.session.model.eval()(tiny_images(size)).features.to(dtype)
    features.requires_grad_()
    with (
        unchanged(hook.where, tensors={"features": features}),
        seeded("check", "features"),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        value = hook.invoke({"features": features}, refusals=refusals)
    if not isinstance(value, Tensor) or value.shape != features.shape or not value.is_floating_point():
        given = tuple(value.shape) if isinstance(value, Tensor) else type_of(value)
        raise hook.broken(f"turns features {tuple(features.shape)} into {given}; the shape must stay")
    if not torch.isfinite(value).all():
        raise hook.broken("returns features that are not finite")
    return features, value


def _check_gradient(hook: Hook, features: Tensor, value: Tensor) -> None:
    if not value.requires_grad:
        raise hook.broken("cuts the gradient off, so the backbone would not learn; do not detach")
    # weights that differ: the sum of normalised features, say, has no gradient
    weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape).sin()
    (gradient,) = torch.autograd.grad((value * weights).sum(), features, allow_unused=True)
    if gradient is None or not torch.isfinite(gradient).all() or not gradient.abs().max() > 0:
        what = "zero" if gradient is None or torch.isfinite(gradient).all() else "not finite"
        raise AssertionError(f"{hook.where}: the gradient of the features is {what}")
