"""Marks planted in images: which images bear one, where it is, and pictures of one's own as marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from transferkit.data.randomness import numpy_rng
from transferkit.data.shares import rounded_share
from transferkit.errors import InputError
from transferkit.words.kinds import reason
from transferkit.words.suggest import did_you_mean

Size = tuple[int, int]


def choose_images(labels: Any, ratio: float, seed: int) -> NDArray[np.int64]:
    """Sorted indices of ⌊ratio·n_c + ½⌋ of the n_c images of every class c.

    `labels` is (n,), an array or a tensor. For one seed the images of a smaller ratio are among those of a larger one:
    they are the beginning of one permutation per class, which no other class has a part in. Raises ValueError for a
    ratio outside 0..1 and for labels that are no list of whole numbers.
    """
    ids = np.asarray(labels.cpu() if hasattr(labels, "cpu") else labels)
    if not 0 <= ratio <= 1:
        raise ValueError(f"choose: the ratio must lie between 0 and 1, not {ratio}")
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"choose: labels must be whole numbers of shape (n,), not {ids.dtype} of shape {ids.shape}")
    chosen = [np.empty(0, np.int64)]
    for label in np.unique(ids).tolist():
        members = np.flatnonzero(ids == label)
        chosen.append(numpy_rng(seed, "choose", label).permutation(members)[: rounded_share(ratio, len(members))])
    return np.sort(np.concatenate(chosen))


def select_images(
    labels: NDArray[np.int64],
    classes: list[str],
    wanted: Sequence[str] | None,
    ratio: float,
    rng: np.random.Generator,
    plugin: str,
) -> NDArray[np.int64]:
    """What `choose_images` gives for a seed drawn from `rng`, of the classes named in `wanted` (None: of all).

    Raises InputError for the name of a class that does not exist.
    """
    found = choose_images(labels, ratio, int(rng.integers(1 << 62)))
    if wanted is None:
        return found
    return found[np.isin(labels[found], [class_index(name, classes, plugin) for name in wanted])]


def class_index(name: str, classes: list[str], plugin: str) -> int:
    """The label of the class with that name. Raises InputError with a suggestion."""
    if name not in classes:
        hint = did_you_mean(name, classes)
        raise InputError(f'{plugin}: there is no class called "{name}"' + (f"; {hint}" if hint else ""))
    return classes.index(name)


def drawn_corner(size: Size, side: int, rng: np.random.Generator, margin: int = 0) -> Size:
    """(x, y) of a square of `side` pixels in an image of (width, height): all that keep the margin equally likely."""
    columns, rows = (extent - side - 2 * margin + 1 for extent in size)
    y, x = divmod(int(rng.integers(rows * columns)), columns)
    return margin + x, margin + y


def read_sprite(path: Path, plugin: str) -> Image.Image:
    """The picture as RGBA, upright. Raises InputError when it cannot be read."""
    path = Path(path).expanduser()
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image).convert("RGBA")
    except FileNotFoundError:
        raise InputError(f"{plugin}: the picture {path} does not exist") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, …
        raise InputError(f"{plugin}: the picture {path} cannot be read: {reason(error)}") from None


def scaled_sprite(sprite: Image.Image, side: int, opaque: bool = False) -> tuple[Image.Image, Image.Image | None]:
    """An RGBA picture as a square of `side` pixels: its colours, and its transparency (None where it has none).

    `opaque` leaves no half-transparent pixel: what is mostly there is there, the rest is not.
    """
    small = sprite if sprite.size == (side, side) else sprite.resize((side, side), Image.Resampling.BOX)
    mask = small.getchannel("A")
    if opaque:
        mask = mask.point([0] * 128 + [255] * 128)
    return small.convert("RGB"), None if mask.getextrema()[0] == 255 else mask
