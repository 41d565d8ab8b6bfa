"""From a request's body to images the model takes: nothing is decoded before its format and size are allowed.

Pixels are made as in training (`transferkit.data.images`): EXIF orientation, CMYK, palettes, 16-bit grey, transparency.
Runs in a thread; knows nothing of the web but content types.
"""

from __future__ import annotations

import base64
import binascii
import warnings
from collections.abc import Callable
from email.message import Message
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, NamedTuple

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transferkit.serving.multipart import files
from transferkit.serving.refusals import Refused

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
MOST_SCANS = 50
"""Of a progressive JPEG. Encoders write about ten; a thousand make a small file take minutes."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # the limit here is lower and refuses


class ImagesInJson(BaseModel):
    """The JSON form of a request: images as base64 texts."""

    model_config = ConfigDict(extra="forbid")
    images: Annotated[list[str], Field(min_length=1, description="Images (JPEG, PNG, WebP or BMP), each as base64.")]


class Picture(NamedTuple):
    """An image ready for the model, (C, H, W), with the name it was sent under, if any."""

    name: str | None
    pixels: Tensor


class Intake:
    """Turns bodies into pictures. `shorter_side` is the length in pixels to which the preprocessing resizes it."""

    def __init__(
        self,
        preprocess: Callable[[Image.Image], Tensor],
        *,
        shorter_side: int,
        max_pixels: int,
        max_images: int,
    ) -> None:
        self._preprocess = preprocess
        self._shorter_side = shorter_side
        self._max_pixels = max_pixels
        self._max_images = max_images

    def pictures(self, body: bytes, content_type: str) -> list[Picture]:
        """Every image of a body, in order. Raises Refused for the first one that cannot be used."""
        sent = self._sent(body, content_type)
        if not sent:
            raise Refused("no_image", "there is no image in this request")
        if len(sent) > self._max_images:
            raise Refused("too_many_images", f"at most {self._max_images} images in one request")
        return [Picture(name, self.pixels(data, _called(name, place))) for place, (name, data) in enumerate(sent)]

    def _sent(self, body: bytes, content_type: str) -> list[tuple[str | None, bytes]]:
        header = Message()
        header["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
        kind = header.get_content_type() if content_type else ""
        if kind == "multipart/form-data":
            boundary = header.get_boundary()
            if not boundary:
                raise Refused("malformed", "the content type multipart/form-data has no boundary")
            return [(name or None, data) for name, data in files(body, boundary, self._max_images)]
        if kind == "application/json":
            return [(None, _from_base64(text, place)) for place, text in enumerate(_from_json(body))]
        raise Refused(
            "content_type", "send multipart/form-data with files, or application/json with base64 texts in `images`"
        )

    def pixels(self, data: bytes, called: str) -> Tensor:
        """One image, decoded and preprocessed. Raises Refused."""
        image = self._opened(data, called)
        self._check_size(image.size, called)
        if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
            raise Refused("animated", f"{called} is animated; send the frame you mean")
        try:
            image.load()
            return self._preprocess(image)
        except MemoryError:
            raise Refused("memory_full", "not enough memory for this image now", retry_after=1) from None
        except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ValueError, IndexError, …
            raise Refused("unreadable", f"{called} cannot be read: {_why(error)}") from None
        finally:
            image.close()

    def _opened(self, data: bytes, called: str) -> Image.Image:
        """The image with its header read and no pixel decoded."""
        if not data:
            raise Refused("unreadable", f"{called} is empty")
        if data.startswith(JPEG) and data.count(b"\xff\xda") > MOST_SCANS:
            raise Refused("too_many_scans", f"{called} is a JPEG of more than {MOST_SCANS} scans")
        try:
            return Image.open(BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError:
            raise self._too_large(called) from None
        except UnidentifiedImageError:
            if data.startswith((JPEG, PNG)) or data[:4] + data[8:12] == b"RIFFWEBP":
                raise Refused("unreadable", f"{called} cannot be read: damaged or truncated") from None
            raise Refused("format", f"{called} is not a JPEG, PNG, WebP or BMP image") from None
        except Exception as error:
            raise Refused("unreadable", f"{called} cannot be read: {_why(error)}") from None

    def _check_size(self, size: tuple[int, int], called: str) -> None:
        """Against both: as sent, and as resized, where a strip of few pixels becomes one of many."""
        width, height = size
        if not width or not height:
            raise Refused("unreadable", f"{called} has no pixels")
        resized = max(size) / min(size) * self._shorter_side**2
        if width * height > self._max_pixels or resized > self._max_pixels:
            raise self._too_large(called)

    def _too_large(self, called: str) -> Refused:
        return Refused(
            "too_many_pixels", f"{called} has more than {self._max_pixels:,} pixels, as sent or in the model's size"
        )


def _from_json(body: bytes) -> list[str]:
    try:
        return ImagesInJson.model_validate_json(body).images
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise Refused("malformed", f'the JSON must be {{"images": ["base64", …]}}; {place}: {first["msg"]}') from None


def _from_base64(text: str, place: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("malformed", f"image {place + 1} is not base64") from None


def _called(name: str | None, place: int) -> str:
    return f"image {place + 1}" if name is None else f'"{name[:100]}"'


def _why(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "it is truncated" if "truncated" in text.lower() else text[:200]
