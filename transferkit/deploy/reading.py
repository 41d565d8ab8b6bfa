"""Image files, and images that a program has already, as batches for a model that is in use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from transferkit.model.preprocessing import Preprocess

Given = TypeVar("Given", bound="Path | Image.Image")


def read_batches(
    preprocess: Preprocess,
    images: Iterable[Given],
    *,
    batch_size: int,
    bad: Callable[[Given, str], None],
    also: Preprocess | None = None,
) -> Iterator[tuple[list[Given], Tensor]]:
    """The readable images of each batch and what the model sees of them (n, C, H, W); others go to `bad(image, why)`.

    What a second model's preprocessing (`also`) would refuse for its size counts as unreadable too.
    """
    import torch

    users = [preprocess] if also is None else [preprocess, also]

    def fits(size: tuple[int, int]) -> None:
        for user in users:
            user.refuse(size)

    waiting = iter(images)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        while batch := list(islice(waiting, batch_size)):
            tensors: list[Tensor] = []
            readable: list[Given] = []
            for image, tensor in zip(batch, pool.map(lambda image: _read(preprocess, image, fits), batch), strict=True):
                if isinstance(tensor, str):
                    bad(image, tensor)
                else:
                    tensors.append(tensor)
                    readable.append(image)
            if tensors:
                yield readable, torch.stack(tensors)


def _read(preprocess: Preprocess, image: Path | Image.Image, fits: Callable[[tuple[int, int]], None]) -> Tensor | str:
    """What the model sees of it, or the reason why it cannot be read."""
    from transferkit.data.images import BadImage, open_image

    try:
        return preprocess(open_image(image, fits=fits) if isinstance(image, Path) else image)
    except BadImage as error:
        return error.reason
