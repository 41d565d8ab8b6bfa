"""From a file to RGB pixels: orientation and colour modes handled, anything unreadable refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from transferkit.errors import InputError

CACHE_FILE = "checked_images.json"


class BadImage(InputError):
    """An image that cannot be used: where it lies and why."""

    def __init__(self, path: str, reason: str, class_name: str | None = None) -> None:
        of = f" (class {class_name!r})" if class_name is not None else ""
        super().__init__(f"cannot read the image {path}{of}: {reason}. Replace or remove it, or set on_bad_image: skip")
        self.path = path
        self.reason = reason
        self.class_name = class_name

    def __reduce__(self) -> tuple[Any, ...]:
        return BadImage, (self.path, self.reason, self.class_name)


def open_image(file: str | Path | IO[bytes], name: str | None = None) -> Image.Image:
    """The image as RGB, upright as its EXIF orientation says, fully decoded.

    Sixteen-bit grey is scaled to eight bits; transparency is laid over white. Raises BadImage for
    anything that is empty, truncated, no image, or larger than PIL's limit against decompression bombs;
    `name` is what a file object is called in the message.
    """
    path = name if name is not None else str(file)
    try:
        with Image.open(file) as image:
            _refuse_bomb(image.size)
            image.load()
            return _rgb(_upright(image))
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ValueError, IndexError, …
        raise BadImage(path, _reason(file, error)) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded image of any mode as upright RGB, never the given object: its owner may hand that out again.

    Raises ValueError for modes that mean no colours.
    """
    made = _rgb(_upright(image))
    return made.copy() if made is image else made


def find_bad_images(
    paths: Iterable[Path],
    workers: int,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
) -> list[BadImage]:
    """Decode every file and return the bad ones, in the order of `paths`; `progress` gets (done, total).

    With a `cache` folder, a file whose path, size and time are those of an earlier check is not read again.
    """
    files = [str(path) for path in paths]
    known = _read_cache(cache)
    stamps = [_stamp(file) for file in files]
    reasons: dict[str, str | None] = {}
    unknown = []
    for file, stamp in zip(files, stamps, strict=True):
        entry = known.get(file)
        if entry is not None and stamp is not None and entry[:2] == stamp:
            reasons[file] = entry[2]
        else:
            unknown.append(file)
    reasons.update(_check_all(unknown, workers, len(files), progress))
    if cache is not None and unknown:
        entries = {file: [*stamp, reasons[file]] for file, stamp in zip(files, stamps, strict=True) if stamp}
        _write_cache(cache, known | entries)
    return [BadImage(file, reason) for file in files if (reason := reasons[file]) is not None]


def _refuse_bomb(size: tuple[int, int]) -> None:
    # between its limit and twice its limit PIL only warns
    if Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError


def _upright(image: Image.Image) -> Image.Image:
    try:
        # transposing copies an image even where there is nothing to turn
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:  # damaged EXIF says nothing about the pixels, which are already decoded
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 bits per channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        backdrop = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(backdrop, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy


def _eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen-bit grey to eight bits. (PIL's own conversion clips at 255, which turns most pixels white.)"""
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("its pixels have 32 bits; save it with 8 or 16 bits per channel")
    return Image.fromarray((pixels >> 8).astype(np.uint8))


def _reason(file: str | Path | IO[bytes], error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels, the limit against decompression bombs"
    if _is_empty(file):
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image that Pillow can read"
    text = str(error) or type(error).__name__
    return "the file is truncated" if "truncated" in text.lower() else text


def _is_empty(file: str | Path | IO[bytes]) -> bool:
    with suppress(OSError, ValueError):
        return (os.path.getsize(file) if isinstance(file, str | Path) else file.seek(0, os.SEEK_END)) == 0
    return False


def _check(file: str) -> str | None:
    try:
        open_image(file)
    except BadImage as bad:
        return bad.reason
    return None


def _check_all(
    files: list[str], workers: int, total: int, progress: Callable[[int, int], None] | None
) -> dict[str, str | None]:
    reasons: dict[str, str | None] = {}
    done = total - len(files)
    waiting = iter(files)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        while chunk := list(islice(waiting, 256)):
            reasons.update(zip(chunk, pool.map(_check, chunk), strict=True))
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    return reasons


def _stamp(file: str) -> list[int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _read_cache(cache: Path | None) -> dict[str, list[Any]]:
    if cache is None:
        return {}
    try:
        entries = json.loads((cache / CACHE_FILE).read_text(encoding="utf-8"))
        return {str(file): list(entry) for file, entry in entries.items() if len(entry) == 3}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write_cache(cache: Path, entries: dict[str, list[Any]]) -> None:
    """A cache that cannot be written only costs time, so a failure is no error."""
    temporary = cache / f"{CACHE_FILE}.{os.getpid()}"
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(entries), encoding="utf-8")
        temporary.replace(cache / CACHE_FILE)
