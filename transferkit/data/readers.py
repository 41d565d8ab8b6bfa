"""Data sets that a plugin reads: asked for a split, checked, and blamed for what goes wrong. No torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.contents import Contents
from transferkit.data.images import BadImage
from transferkit.errors import InputError
from transferkit.plugins import late
from transferkit.plugins.contained import contained
from transferkit.words.kinds import type_of

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset

SPLITS = ("train", "val", "test")


def read(spec: Dataset, split: str) -> Contents | None:
    """What the data set's reader finds for a split, which the recipe may call otherwise; None where there is none.

    Raises InputError that names the plugin for whatever it raises, and for contents that do not fit together.
    """
    call, named = _call(spec), spec.splits.get(split, split)  # type: ignore[call-overload]
    plugin = call.plugin
    with contained(f"{plugin} could not read the split {named}"):
        given = call(SimpleNamespace(split=named))
    if given is None:
        if split in spec.splits:
            raise InputError(f'{plugin}: there is no split called "{named}"')
        return None
    found = checked(given, f"{plugin}, split {named}")
    content = partial(_sizes, found.paths) if found.paths is not None and found.content is bytes else found.content
    return replace(found, read=partial(_image, str(plugin), found.read), content=content)


def counts(spec: Dataset) -> dict[str, dict[str, int]]:
    """{split: {class: images}} of every split that there is. Raises InputError."""
    found = {split: contents for split in SPLITS if (contents := read(spec, split)) is not None}
    numbers = {split: Counter(contents.labels.tolist()) for split, contents in found.items()}
    return {
        split: {name: numbers[split][label] for label, name in enumerate(contents.classes)}
        for split, contents in found.items()
    }


def _call(spec: Dataset) -> Any:
    use = spec.reader
    assert use is not None
    component = use.component or late.installed().get("reader", use.use)
    return late.calls("reader", use.instance_name, component, use.options, "read")[0]


def checked(given: object, whose: str) -> Contents:
    """The contents with int64 labels. Raises InputError, which begins with whose they are, where they do not fit."""
    if not isinstance(given, Contents):
        raise InputError(f"{whose}: read must return transferkit.data.Contents or None, not {type_of(given)}")
    labels: NDArray[np.int64] = np.asarray(given.labels)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise InputError(f"{whose}: labels must be whole numbers (n,), not {labels.dtype} {labels.shape}")
    for what, values in (("ids", given.ids), ("paths", given.paths)):
        if values is not None and len(values) != len(labels):
            raise InputError(f"{whose}: there are {len(labels)} labels and {len(values)} {what}")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(given.classes):
        raise InputError(f"{whose}: labels must lie in 0..{len(given.classes) - 1}, the places in classes")
    twice = [id for id, times in Counter(given.ids).items() if times > 1]
    if twice:
        raise InputError(f'{whose}: several images have the id "{twice[0]}"; ids tell images apart')
    return replace(given, labels=labels.astype(np.int64))


def _image(whose: str, read: Callable[[int], Image.Image], index: int) -> Image.Image:
    """The image at an index as RGB. Raises BadImage as it is; other errors get a note on whose they are."""
    try:
        image = read(index)
    except BadImage:
        raise
    except BaseException as error:
        error.add_note(f"in the image {index} of the {whose}")
        raise
    if not isinstance(image, Image.Image):
        raise InputError(f"{whose}: an image must be a PIL image, not {type_of(image)}")
    return image if image.mode == "RGB" else image.convert("RGB")


def _sizes(paths: Sequence[str]) -> bytes:
    """What distinguishes files of the same names: their sizes."""
    return "\n".join(str(os.stat(path).st_size) if os.path.isfile(path) else "" for path in paths).encode()
