"""The promises of `combine` and `transform_features`: what stands between the loader and the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from transferkit.data.randomness import numpy_rng, seeded
from transferkit.data.streams import Combined
from transferkit.errors import InputError
from transferkit.testing.guard import unchanged
from transferkit.testing.subject import Subject, invoke
from transferkit.testing.tiny import tiny_images, tiny_labels

BATCH = 8
TARGET = "target"


def check_forward_hooks(subject: Subject) -> None:
    """Both, where the plugin implements them."""
    check_combine(subject)
    check_transform_features(subject)


def check_combine(subject: Subject) -> None:
    """Images, labels and weights by stream that a forward pass can take; the same for the same key.

    The streams are those that `streams` gives in the tiny session, or one called "source".
    """
    call = subject.call("combine")
    if call is None:
        return
    where = f"{subject.name}.combine"
    names = _streams(subject)

    def combined() -> Combined:
        images = {name: tiny_images(BATCH, seed) for seed, name in enumerate(names)}
        labels = {name: tiny_labels(BATCH) for name in names}
        lent = {f'images["{name}"]': part for name, part in images.items()}
        lent |= {f'labels["{name}"]': part for name, part in labels.items()}
        rng = numpy_rng("check", "combine")
        offer = SimpleNamespace(images=images, labels=labels, step=1, epoch=0, progress=0.25, rng=rng)
        with unchanged(where, tensors=lent):
            value = invoke(where, call, offer)
        if not isinstance(value, Combined):
            raise AssertionError(f"{where} must return a transferkit.Combined, not {type(value).__name__}")
        return value

    found = combined()
    _check_batch(where, found, tiny_images(1).shape[1:])
    _check_weights(where, found)
    if not _same(found, combined()):
        raise AssertionError(f"{where} gives another result for the same batch and key; draw from `rng` only")


def _streams(subject: Subject) -> list[str]:
    call = subject.call("streams")
    if call is None:
        return [TARGET, "source"]
    try:
        given = call(subject.session_offer())
    except Exception:  # it may need data that only a real run has
        return [TARGET, "source"]
    return list(dict.fromkeys([TARGET, *given]))


def _check_batch(where: str, found: Combined, shape: torch.Size) -> None:
    if not found.images or set(found.images) != set(found.labels):
        given = f"images of {sorted(found.images)} and labels of {sorted(found.labels)}"
        raise AssertionError(f"{where} returns {given}; every stream needs both, and there must be one")
    for name, images in found.images.items():
        labels = found.labels[name]
        if images.shape[1:] != shape or labels.ndim not in (1, 2) or len(labels) != len(images):
            raise AssertionError(
                f"{where} returns images {tuple(images.shape)} and labels {tuple(labels.shape)} of the stream {name}; "
                "the images' shape must stay, and labels are (n,) or (n, K)"
            )
        if not torch.isfinite(images).all():
            raise AssertionError(f"{where}: the images of the stream {name} are not finite")


def _check_weights(where: str, found: Combined) -> None:
    unknown = [name for name in found.weights if name not in found.images]
    if unknown:
        raise AssertionError(f"{where} gives a weight to {unknown[0]}, of which it returns no images")
    wrong = {name: weight for name, weight in found.weights.items() if not _is_weight(weight)}
    if wrong:
        raise AssertionError(f"{where} returns the weights {wrong}; a stream's weight is a finite number of at least 0")


def _is_weight(weight: Any) -> bool:
    return isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0


def _same(one: Combined, other: Combined) -> bool:
    def alike(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    return alike(one.images, other.images) and alike(one.labels, other.labels) and one.weights == other.weights


def check_transform_features(subject: Subject) -> None:
    """Features of the shape that came in, finite, through which gradients flow; on bfloat16 and one image as well.

    It may draw from torch's global generator, which a run keys to the step.
    """
    if subject.call("transform_features") is None:
        return
    where = f"{subject.name}.transform_features"
    first, again = (_transformed(subject, where, BATCH)[1] for _ in range(2))
    if not torch.equal(first, again):
        raise AssertionError(f"{where} gives another result for the same features; it must be a function of them")
    _check_gradient(where, *_transformed(subject, where, BATCH))
    when = f"{where} on features that were computed in bfloat16"
    _check_gradient(when, *_transformed(subject, when, BATCH, torch.bfloat16))
    try:
        _transformed(subject, f"{where} for a batch of one image", 1, refusals=(InputError, ValueError))
    except (InputError, ValueError) as error:
        if not str(error).strip():
            raise AssertionError(f"{where} refuses a batch of one image without saying why") from error


def _transformed(
    subject: Subject,
    where: str,
    size: int,
    dtype: torch.dtype = torch.float32,
    refusals: tuple[type[Exception], ...] = (),
) -> tuple[Tensor, Tensor]:
    """Features that want a gradient, and what the plugin makes of them."""
    call = subject.call("transform_features")
    assert call is not None
    with torch.no_grad():
        features = subject.session.model.eval()(tiny_images(size)).features.to(dtype)
    features.requires_grad_()
    with (
        unchanged(where, tensors={"features": features}),
        seeded("check", "features"),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        try:
            value = call(SimpleNamespace(features=features))
        except refusals:
            raise
        except Exception as error:
            raise AssertionError(f"{where} raises {type(error).__name__}: {error}") from error
    if not isinstance(value, Tensor) or value.shape != features.shape or not value.is_floating_point():
        given = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise AssertionError(f"{where} turns features {tuple(features.shape)} into {given}; the shape must stay")
    if not torch.isfinite(value).all():
        raise AssertionError(f"{where} returns features that are not finite")
    return features, value


def _check_gradient(where: str, features: Tensor, value: Tensor) -> None:
    if not value.requires_grad:
        raise AssertionError(f"{where} cuts the gradient off, so the backbone would not learn; do not detach")
    # weights that differ: the sum of normalised features, say, has no gradient
    weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape).sin()
    (gradient,) = torch.autograd.grad((value * weights).sum(), features, allow_unused=True)
    if gradient is None or not torch.isfinite(gradient).all() or not gradient.abs().max() > 0:
        what = "zero" if gradient is None or torch.isfinite(gradient).all() else "not finite"
        raise AssertionError(f"{where}: the gradient of the features is {what}")
