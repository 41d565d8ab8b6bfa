"""The promises of `corrupt`, `manifest`, `select`, `transform_batch` and `mix`: functions of their arguments alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from transferkit.data.planting import OWN_COLUMNS
from transferkit.data.randomness import numpy_rng
from transferkit.testing.guard import unchanged
from transferkit.testing.subject import Subject, invoke
from transferkit.testing.tiny import tiny_images, tiny_labels


def check_data_hooks(subject: Subject) -> None:
    """All of them, where the plugin implements them."""
    check_corrupt(subject)
    check_manifest(subject)
    check_select(subject)
    check_transform_batch(subject)
    check_mix(subject)


def check_corrupt(subject: Subject) -> None:
    """The same image, label and key give the same result, whatever came in between.

    The input stays as it is, unless the class says `in_place = True`: the core hands out an image of its own.
    """
    call = subject.call("corrupt")
    if call is None:
        return
    where = f"{subject.name}.corrupt"
    source = subject.session.train_samples.source

    def corrupted(index: int) -> tuple[bytes, int]:
        image, label = source.image(index).copy(), int(source.labels[index])
        before = image.tobytes()
        offer = SimpleNamespace(image=image, label=label, classes=list(source.classes), rng=numpy_rng("check", index))
        with unchanged(where):
            value = invoke(where, call, offer)
        if image.tobytes() != before and not getattr(subject.plugin.instance, "in_place", False):
            raise AssertionError(f"{where} changes the image it is given; work on image.copy()")
        return _image_and_label(where, value, image, label, len(source.classes))

    first, _, again = corrupted(0), corrupted(1), corrupted(0)
    if first != again:
        raise AssertionError(f"{where} gives another result for the same image, label and key; draw from `rng` only")


def _image_and_label(where: str, value: Any, given: Image.Image, label: int, classes: int) -> tuple[bytes, int]:
    image, new = value if isinstance(value, tuple) else (value, label)
    if not isinstance(image, Image.Image):
        raise AssertionError(f"{where} must return a PIL image or (image, label), not {type(image).__name__}")
    if image.size != given.size or image.mode != "RGB":
        raise AssertionError(f"{where} turns an RGB image of {given.size} into {image.mode} of {image.size}")
    if not 0 <= int(new) < classes:
        raise AssertionError(f"{where} returns the label {new}; the classes are 0 to {classes - 1}")
    return image.tobytes(), int(new)


def check_manifest(subject: Subject) -> None:
    """Plain values by column, the same for the same key; the key is that of the image's `corrupt`."""
    call = subject.call("manifest")
    if call is None:
        return
    where = f"{subject.name}.manifest"
    source = subject.session.train_samples.source

    def described() -> dict[str, Any]:
        offer = SimpleNamespace(
            size=source.image(0).size,
            label=int(source.labels[0]),
            classes=list(source.classes),
            rng=numpy_rng("check", 0),
        )
        with unchanged(where):
            value = invoke(where, call, offer)
        if not isinstance(value, Mapping):
            raise AssertionError(f"{where} must return {{column: value}}, not {type(value).__name__}")
        return dict(value)

    found = described()
    taken = [name for name in OWN_COLUMNS if name in found]
    if taken:
        raise AssertionError(f"{where} returns a column {taken[0]}, which every manifest has already; rename it")
    odd = [name for name, value in found.items() if not isinstance(value, str | int | float | np.generic | None)]
    if odd:
        raise AssertionError(f"{where}: the value of {odd[0]} is no text and no number, so it cannot be in a table")
    if found != described():
        raise AssertionError(f"{where} gives another result for the same image and key; draw from `rng` only")


def check_select(subject: Subject) -> None:
    """Distinct indices of samples, the same for the same key."""
    call = subject.call("select")
    if call is None:
        return
    where = f"{subject.name}.select"
    labels = np.arange(60, dtype=np.int64) % 3

    def selected() -> list[int]:
        offer = SimpleNamespace(
            labels=labels.copy(), classes=["a", "b", "c"], split="train", rng=numpy_rng("check", "select")
        )
        with unchanged(where):
            return [int(index) for index in invoke(where, call, offer)]

    found = selected()
    if any(not 0 <= index < len(labels) for index in found) or len(set(found)) != len(found):
        raise AssertionError(f"{where} must return distinct indices between 0 and {len(labels) - 1}")
    if found != selected():
        raise AssertionError(f"{where} selects other samples for the same labels and key; draw from `rng` only")


def check_transform_batch(subject: Subject) -> None:
    """As many images as came in, of their shape, with labels (n,) or (n, K); the same for the same key."""
    call = subject.call("transform_batch")
    if call is None:
        return
    where = f"{subject.name}.transform_batch"

    def transformed() -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = tiny_images(), tiny_labels()
        offer = SimpleNamespace(images=images, labels=labels, rng=numpy_rng("check", "batch"))
        with unchanged(where, tensors={"images": images, "labels": labels}):
            value = invoke(where, call, offer)
        if not isinstance(value, tuple) or len(value) != 2:
            raise AssertionError(f"{where} must return (images, labels)")
        return value

    images, labels = transformed()
    if images.shape != tiny_images().shape or labels.ndim not in (1, 2) or len(labels) != len(images):
        raise AssertionError(
            f"{where} returns images {tuple(images.shape)} and labels {tuple(labels.shape)}; "
            "the images' shape must stay, and labels are (n,) or (n, K)"
        )
    again = transformed()
    if not torch.equal(images, again[0]) or not torch.equal(labels, again[1]):
        raise AssertionError(f"{where} gives another result for the same batch and key; draw from `rng` only")


def check_mix(subject: Subject) -> None:
    """Shares between 0 and 1 that add up to at most 1, a function of step, epoch and progress alone."""
    call = subject.call("mix")
    if call is None:
        return
    where = f"{subject.name}.mix"
    moments = [(0, 0, 0.0), (5, 1, 0.5), (9, 1, 1.0), (5, 1, 0.5)]
    shares = [_shares(where, call, *moment) for moment in moments]
    if shares[1] != shares[3]:
        raise AssertionError(f"{where} gives other shares for the same step; it must be a function of its arguments")


def _shares(where: str, call: Any, step: int, epoch: int, progress: float) -> dict[str, float]:
    with unchanged(where):
        value = invoke(where, call, SimpleNamespace(step=step, epoch=epoch, progress=progress))
    if not isinstance(value, Mapping):
        raise AssertionError(f"{where} must return {{stream: share of the batch}}, not {type(value).__name__}")
    shares = {str(stream): float(share) for stream, share in value.items()}
    if any(not 0 <= share <= 1 for share in shares.values()) or math.fsum(shares.values()) > 1 + 1e-9:
        raise AssertionError(f"{where} returns {shares}; shares lie between 0 and 1 and add up to at most 1")
    return shares
