"""The promises of `corrupt`, `manifest`, `select`, `transform_batch` and `mix`: functions of their arguments alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from transferkit.data.planting import OWN_COLUMNS
from transferkit.data.randomness import numpy_rng
from transferkit.testing.subject import Hook
from transferkit.testing.tiny import tiny_images, tiny_labels
from transferkit.words.kinds import type_of


def check_corrupt(hook: Hook) -> None:
    """The same image, label and key give the same result, whatever came in between.

    The input stays as it is, unless the class says `in_place = True`: the core hands out an image of its own.
    """
    source = hook.subject.session.train_samples.source

    def corrupted(index: int) -> tuple[bytes, int]:
        image, label = source.image(index).copy(), int(source.labels[index])
        before = image.tobytes()
        value = hook(image=image, label=label, classes=list(source.classes), rng=numpy_rng("check", index))
        if image.tobytes() != before and not hook.subject.plugin.component.declared.in_place:
            raise hook.broken("changes the image it is given; work on image.copy()")
        return _image_and_label(hook, value, image, label, len(source.classes))

    first, _, again = corrupted(0), corrupted(1), corrupted(0)
    if first != again:
        raise hook.broken("gives another result for the same image, label and key; draw from `rng` only")


def _image_and_label(hook: Hook, value: Any, given: Image.Image, label: int, classes: int) -> tuple[bytes, int]:
    image, new = value if isinstance(value, tuple) else (value, label)
    if not isinstance(image, Image.Image):
        raise hook.broken(f"must return a PIL image or (image, label), not {type_of(image)}")
    if image.size != given.size or image.mode != "RGB":
        raise hook.broken(f"turns an RGB image of {given.size} into {image.mode} of {image.size}")
    if not 0 <= int(new) < classes:
        raise hook.broken(f"returns the label {new}; the classes are 0 to {classes - 1}")
    return image.tobytes(), int(new)


def check_manifest(hook: Hook) -> None:
    """Plain values by column, the same for the same key; the key is that of the image's `corrupt`."""
    source = hook.subject.session.train_samples.source

    def described() -> dict[str, Any]:
        size, label = source.image(0).size, int(source.labels[0])
        value = hook(size=size, label=label, classes=list(source.classes), rng=numpy_rng("check", 0))
        if not isinstance(value, Mapping):
            raise hook.broken(f"must return {{column: value}}, not {type_of(value)}")
        return dict(value)

    found = described()
    taken = [name for name in OWN_COLUMNS if name in found]
    if taken:
        raise hook.broken(f"returns a column {taken[0]}, which every manifest has already; rename it")
    odd = [name for name, value in found.items() if not isinstance(value, str | int | float | np.generic | None)]
    if odd:
        raise AssertionError(
            f"{hook.where}: the value of {odd[0]} is no text and no number, so it cannot be in a table"
        )
    if found != described():
        raise hook.broken("gives another result for the same image and key; draw from `rng` only")


def check_select(hook: Hook) -> None:
    """Distinct indices of samples, the same for the same key."""
    classes = list(hook.subject.session.train_samples.classes)
    labels = np.arange(60, dtype=np.int64) % len(classes)

    def selected() -> list[int]:
        rng = numpy_rng("check", "select")
        return [int(index) for index in hook(labels=labels.copy(), classes=list(classes), split="train", rng=rng)]

    found = selected()
    if any(not 0 <= index < len(labels) for index in found) or len(set(found)) != len(found):
        raise hook.broken(f"must return distinct indices between 0 and {len(labels) - 1}")
    if found != selected():
        raise hook.broken("selects other samples for the same labels and key; draw from `rng` only")


def check_transform_batch(hook: Hook) -> None:
    """As many images as came in, of their shape, with labels (n,) or (n, K); the same for the same key."""

    def transformed() -> tuple[torch.Tensor, torch.Tensor]:
        lent = {"images": tiny_images(), "labels": tiny_labels()}
        value = hook(lent, **lent, rng=numpy_rng("check", "batch"))
        if not isinstance(value, tuple) or len(value) != 2:
            raise hook.broken("must return (images, labels)")
        return value

    images, labels = transformed()
    if images.shape != tiny_images().shape or labels.ndim not in (1, 2) or len(labels) != len(images):
        raise hook.broken(
            f"returns images {tuple(images.shape)} and labels {tuple(labels.shape)}; "
            "the images' shape must stay, and labels are (n,) or (n, K)"
        )
    if not all(map(torch.equal, (images, labels), transformed())):
        raise hook.broken("gives another result for the same batch and key; draw from `rng` only")


def check_mix(hook: Hook) -> None:
    """Shares between 0 and 1 that add up to at most 1, a function of step, epoch and progress alone."""

    def shares(step: int, epoch: int, progress: float) -> dict[str, float]:
        value = hook(step=step, epoch=epoch, progress=progress)
        if not isinstance(value, Mapping):
            raise hook.broken(f"must return {{stream: share of the batch}}, not {type_of(value)}")
        found = {str(stream): float(share) for stream, share in value.items()}
        if any(not 0 <= share <= 1 for share in found.values()) or math.fsum(found.values()) > 1 + 1e-9:
            raise hook.broken(f"returns {found}; shares lie between 0 and 1 and add up to at most 1")
        return found

    _, first, _, again = (shares(*moment) for moment in [(0, 0, 0.0), (5, 1, 0.5), (9, 1, 1.0), (5, 1, 0.5)])
    if first != again:
        raise hook.broken("gives other shares for the same step; it must be a function of its arguments")
