"""From a request's body to images the model takes.

Formats, pixels and refusals are those of `transferkit.data.images`, for files and requests alike. What only a server
has are limits: bytes of a body, images in it, pixels of one (lower than elsewhere, `max_pixels`), seconds to decode.
Runs in a thread; knows nothing of the web but content types.
"""

from __future__ import annotations

import base64
import binascii
from email.message import Message
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transferkit.data.image_formats import FORMATS
from transferkit.data.images import BadImage, Kind, Size, open_image
from transferkit.serving.multipart import files
from transferkit.serving.refusals import Refused
from transferkit.text import encodable, one_line

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.model.preprocessing import Preprocess

REASONS: dict[Kind, str] = {
    "unreadable": "unreadable",
    "unavailable": "unreadable",
    "format": "format",
    "too_many_pixels": "too_many_pixels",
    "too_many_scans": "too_many_scans",
}
"""{how an image is bad: why the request is refused}."""


class ImagesInJson(BaseModel):
    """The JSON form of a request: images as base64 texts."""

    model_config = ConfigDict(extra="forbid")
    images: Annotated[list[str], Field(min_length=1, description=f"Images ({', '.join(FORMATS)}), each as base64.")]


class Picture(NamedTuple):
    """An image ready for the model, (C, H, W), with the name it was sent under, if any."""

    name: str | None
    pixels: Tensor


class Intake:
    """Turns bodies into pictures."""

    def __init__(self, preprocess: Preprocess, *, max_pixels: int, max_images: int) -> None:
        self._preprocess = preprocess
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
            return [(encodable(name) or None, data) for name, data in files(body, boundary, self._max_images)]
        if kind == "application/json":
            return [(None, _from_base64(text, place)) for place, text in enumerate(_from_json(body))]
        raise Refused(
            "content_type", "send multipart/form-data with files, or application/json with base64 texts in `images`"
        )

    def pixels(self, data: bytes, called: str) -> Tensor:
        """One image, decoded and preprocessed. Raises Refused."""
        try:
            return self._preprocess(open_image(BytesIO(data), called, fits=self._fits))
        except BadImage as bad:
            raise Refused(REASONS[bad.kind], f"{called}: {bad.reason}") from None
        except MemoryError:
            raise Refused("memory_full", "not enough memory for this image now", retry_after=1) from None

    def _fits(self, size: Size) -> None:
        """Against this server's limit, both as sent and as resized, before a pixel is decoded."""
        self._preprocess.refuse(size, self._max_pixels)


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
    return f"image {place + 1}" if name is None else f'"{one_line(name[:100])}"'
