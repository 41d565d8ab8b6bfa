"""From a file to RGB pixels: orientation and colour modes handled, anything unreadable refused by name.

The one way in for images: of training, evaluation and analyses, of `predict` and `detect`, and of requests to a server.
"""

from __future__ import annotations

import json
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache as cached
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

from transferkit.data.walk import FORMATS
from transferkit.errors import InputError, StorageError
from transferkit.system.atomic import write_text
from transferkit.words.kinds import reason

Key = TypeVar("Key")
CACHE_FILE = "checked_images.json"
MOST_SCANS = 50
"""Of a JPEG. Encoders write about ten."""

TILE_WIDTH, TILE_LENGTH = 322, 323  # of TIFF, which decodes whole tiles
LARGEST_TILE = 4096 * 4096
"""Pixels of a tile of a smaller image. Writers make them of 256 x 256 to 1024 x 1024."""

_MARKER = re.compile(rb"\xff+[^\x00\x01\xff\xd0-\xd8]")  # of a JPEG: one with a length behind it, or the end
_START_OF_SCAN, _END = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}

Kind = Literal["unreadable", "unavailable", "format", "too_many_pixels", "too_many_scans"]
Size = tuple[int, int]
"""(width, height) in pixels."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # from its limit on, refused here


class BadImage(InputError):
    """An image that cannot be used: where it lies, why, and of which kind that is.

    "unavailable" is what may pass: the file cannot be opened now. All else is a fact about its bytes.
    """

    def __init__(
        self,
        path: str,
        reason: str,
        class_name: str | None = None,
        kind: Kind = "unreadable",
        advice: str = "Replace or remove it, or set on_bad_image: skip",
    ) -> None:
        of = f" (class {class_name!r})" if class_name is not None else ""
        super().__init__(f"cannot read the image {path}{of}: {reason}. {advice}")
        self.advice = advice
        self.path = path
        self.reason = reason
        self.class_name = class_name
        self.kind: Kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return BadImage, (self.path, self.reason, self.class_name, self.kind, self.advice)


class Unfit(ValueError):
    """Why an image is refused, before it is known how it is called."""

    def __init__(self, reason: str, kind: Kind = "unreadable") -> None:
        super().__init__(reason)
        self.kind: Kind = kind


@cached
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read here: those of FORMATS that this Pillow was built with."""
    Image.init()
    supported = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an older Pillow does not know AVIF by name
        there = [name for name in FORMATS if name in Image.OPEN]
        return tuple(name for name in there if name not in supported or features.check(supported[name]))


def refuse_pixels(size: Size, resized: Size | None = None, limit: int | None = None) -> None:
    """The rule on sizes, the same for every image that comes in: raise Unfit for one that is or becomes too large.

    `resized` is what a transform makes of it before it crops: of a strip with few pixels that may be one with many.
    The limit is Pillow's own, `Image.MAX_IMAGE_PIXELS`, which a program may change, unless one is given.
    """
    if not min(size):
        raise Unfit("it has no pixels")
    limit = Image.MAX_IMAGE_PIXELS if limit is None else limit
    for now, verb in ((size, "it has"), (resized or size, "resized for the model it would have")):
        if limit is not None and now[0] * now[1] > limit:
            what = f"{verb} {now[0]:,} x {now[1]:,} pixels, more than {limit:,}, the limit against decompression bombs"
            own = "" if now is size else f" (as it is: {size[0]:,} x {size[1]:,})"
            raise Unfit(what + own, "too_many_pixels")


def keep_ratio(size: Size, target: tuple[int, ...], longest: float) -> Size:
    """(width, height) as timm's `ResizeKeepRatio` makes it for a target (height, width), at least one pixel each."""
    ratios = size[1] / target[0], size[0] / target[1]
    ratio = max(ratios) * longest + min(ratios) * (1.0 - longest)
    return max(round(size[0] / ratio), 1), max(round(size[1] / ratio), 1)


def open_image(
    file: str | Path | IO[bytes], name: str | None = None, *, fits: Callable[[Size], None] = refuse_pixels
) -> Image.Image:
    """The image as RGB, upright as its EXIF orientation says, fully decoded; the first one of an animation.

    Sixteen-bit grey is scaled to eight bits; transparency is laid over white. Raises BadImage for anything that is
    empty, truncated, no image of FORMATS, or refused by `fits`, which gets its size before a pixel is decoded:
    Pillow's limit against decompression bombs, or also what a model's transform says (`Pipeline.refuse`). `name` is
    what a file object is called in the message.
    """
    path = name if name is not None else str(file)
    try:
        if isinstance(file, str | Path):
            _refuse_special(file)
        with Image.open(file, formats=readable_formats()) as image:
            fits(image.size)
            _refuse_costly(image)
            image.load()
            return _rgb(_upright(image))
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ValueError, IndexError, …
        reason, kind = _reason(file, error)
        raise BadImage(path, reason, kind=kind) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded image of any mode as upright RGB, never the given object: its owner may hand that out again.

    Raises ValueError for modes that mean no colours.
    """
    made = _rgb(_upright(image))
    return made.copy() if made is image else made


def check_images(
    paths: Iterable[str | Path],
    workers: int,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
) -> list[BadImage | Size]:
    """Decode every file: why it cannot be used, or its size, in the order of `paths`; `progress` gets (done, total).

    With a `cache` folder, a file whose path, size and time are those of an earlier check is not read again.
    """
    files = [str(path) for path in paths]
    known = _read_cache(cache)
    stamps = {file: _stamp(file) for file in files}
    found = {
        file: _from_entry(file, known[file])
        for file, stamp in stamps.items()
        if stamp is not None and file in known and known[file][:2] == stamp
    }
    unknown = [file for file in files if file not in found]
    done = len(files) - len(unknown)
    for start in range(0, len(unknown), 256):
        chunk = unknown[start : start + 256]
        found.update(zip(chunk, decode_all(open_image, chunk, workers), strict=True))
        if progress is not None:
            progress(done + start + len(chunk), len(files))
    if cache is not None and unknown:
        for file, stamp in stamps.items():
            one = found[file]
            outcome = [one.reason, one.kind] if isinstance(one, BadImage) else [*one]
            if stamp is not None and "unavailable" not in outcome:  # that is no fact about the file
                known[file] = [*stamp, *outcome]
        with suppress(OSError, StorageError):  # a cache that cannot be written only costs time
            cache.mkdir(parents=True, exist_ok=True)
            write_text(cache / CACHE_FILE, json.dumps({"rules": _rules(), "files": known}))
    return [found[file] for file in files]


def decode_all(read: Callable[[Key], Image.Image], keys: Iterable[Key], workers: int) -> list[BadImage | Size]:
    """The (width, height) of every image that `read` gives, or why there is none, in the order of `keys`."""

    def check(key: Key) -> BadImage | Size:
        try:
            return read(key).size
        except BadImage as bad:
            return bad

    with ThreadPoolExecutor(max(1, workers)) as pool:
        return list(pool.map(check, keys))


def _refuse_special(file: str | Path) -> None:
    """Raise Unfit for what is no file: reading a pipe may never end. A missing file is left to whoever opens it."""
    with suppress(OSError):
        mode = os.stat(file).st_mode
        if not stat.S_ISREG(mode):
            raise Unfit("it is a folder" if stat.S_ISDIR(mode) else "it is no file")


def _refuse_costly(image: Image.Image) -> None:
    """Raise Unfit for few bytes that take minutes or gigabytes, whatever the size of the image."""
    if image.format in ("JPEG", "MPO") and jpeg_scans(image.fp, MOST_SCANS) > MOST_SCANS:  # type: ignore[attr-defined]
        raise Unfit(f"it is a JPEG of more than {MOST_SCANS} scans", "too_many_scans")
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, length = (tags.get(tag, 0) for tag in (TILE_WIDTH, TILE_LENGTH))
        if width * length > max(image.width * image.height, LARGEST_TILE):
            raise Unfit(f"its tiles have {width:,} x {length:,} pixels, more than itself", "too_many_pixels")


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


def _reason(file: str | Path | IO[bytes], error: Exception) -> tuple[str, Kind]:
    if isinstance(error, FileNotFoundError):
        return "the file does not exist", "unavailable"
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or str(error), "unavailable"
    if isinstance(error, Unfit):
        return str(error), error.kind
    if isinstance(error, Image.DecompressionBombError):
        pixels = re.search(r"\d+", str(error))
        limit = f"{Image.MAX_IMAGE_PIXELS:,}, the limit against decompression bombs"
        return f"it has {int(pixels[0]):,} pixels, more than {limit}" if pixels else limit, "too_many_pixels"
    start = _first_bytes(file)
    if start == b"":
        return "the file is empty", "unreadable"
    if isinstance(error, UnidentifiedImageError):
        accepts = [Image.OPEN[name][1] for name in readable_formats()]
        if start and any(accept is not None and accept(start) is True for accept in accepts):
            return "it is damaged or truncated", "unreadable"
        return f"it is not an image of a format that is read: {', '.join(readable_formats())}", "format"
    text = reason(error)
    return "the file is truncated" if "truncated" in text.lower() else text[:200], "unreadable"


def _first_bytes(file: str | Path | IO[bytes]) -> bytes | None:
    """What the formats are told by; None where it cannot be read again."""
    with suppress(OSError, ValueError):
        if isinstance(file, str | Path):
            with open(file, "rb") as opened:
                return opened.read(16)
        file.seek(0)
        return file.read(16)
    return None


def _stamp(file: str) -> list[int] | None:
    with suppress(OSError):
        status = os.stat(file)
        return [status.st_size, status.st_mtime_ns]
    return None


def _from_entry(file: str, entry: list[Any]) -> BadImage | Size:
    first, second = entry[2:]
    return (first, second) if isinstance(first, int) else BadImage(file, first, kind=second)


def _rules() -> list[Any]:
    """What else a check depends on: with another Pillow or another limit, earlier ones say nothing."""
    return [PIL.__version__, readable_formats(), Image.MAX_IMAGE_PIXELS, MOST_SCANS]


def _read_cache(cache: Path | None) -> dict[str, list[Any]]:
    if cache is None:
        return {}
    try:
        content = json.loads((cache / CACHE_FILE).read_text(encoding="utf-8"))
        known = content["files"] if json.dumps(content["rules"]) == json.dumps(_rules()) else {}
        return {str(file): list(entry) for file, entry in known.items() if len(entry) == 4}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {}


def jpeg_scans(file: IO[bytes], most: int) -> int:
    """The scans of the JPEG that a file begins with, up to its end marker; it stops counting above `most`.

    Each is a pass over all of its pixels, so a thousand make a small file take minutes. What lies in segments (a
    thumbnail) or behind the end (a phone's video, a camera's further pictures) is not counted. A JPEG that is not
    progressive and has every component in its first scan has no other.
    """
    file.seek(0)
    scans, components, progressive = 0, 0, False
    while (marker := _next_marker(file)) not in (None, _END):
        length = int.from_bytes(file.read(2), "big") - 2
        if marker in _FRAMES:
            progressive, head = marker in _PROGRESSIVE, file.read(6)
            components, length = head[5] if len(head) == 6 else 0, length - len(head)
        elif marker == _START_OF_SCAN:
            scans += 1
            in_this = file.read(1)
            if scans > most or (not progressive and in_this == bytes([components])):
                break
            length -= len(in_this)
        file.seek(max(length, 0), os.SEEK_CUR)
    return scans


def _next_marker(file: IO[bytes]) -> int | None:
    """The code of the next marker, with the file just behind it; None at the end of the file."""
    data, size = b"", 16
    while more := file.read(size):
        data += more
        found = _MARKER.search(data)
        if found is not None:
            file.seek(found.end() - len(data), os.SEEK_CUR)
            return data[found.end() - 1]
        data = b"\xff" if data.endswith(b"\xff") else b""  # it may begin a marker
        size = min(8 * size, 1 << 20)
    return None
