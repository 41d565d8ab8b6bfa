"""From a request's body to images the model takes.

Formats, pixels and refusals are those of `transferkit.data.images`, for files and requests alike. What only a server
has are limits: bytes of a body, images in it, pixels of one (lower than elsewhere, `max_pixels`), seconds to decode.
Runs in a thread; knows nothing of the web but content types.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from email.message import Message
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from transferkit.data.images import BadImage, Kind, Size, Unfit, open_image
from transferkit.data.walk import FORMATS
from transferkit.serving.refusals import Refused
from transferkit.words.kinds import reason
from transferkit.words.text import encodable, one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from transferkit.serving.engine import Pixels, ToPixels

Made = TypeVar("Made")
RAW = "application/octet-stream"
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
    pixels: Pixels


class Intake:
    """Turns bodies into pictures."""

    def __init__(self, preprocess: ToPixels, *, max_pixels: int, max_images: int) -> None:
        self.preprocess = preprocess
        self._max_pixels = max_pixels
        self._max_images = max_images

    def pictures(self, body: bytes, content_type: str) -> list[Picture]:
        """Every image of a body, in order. Raises Refused for the first one that cannot be used."""
        sent = self._counted(self._sent(body, content_type))
        return [Picture(name, self.pixels(data, called(name, place))) for place, (name, data) in enumerate(sent)]

    def photograph(self, body: bytes, content_type: str) -> Image.Image:
        """The one image of a body, decoded and upright. Raises Refused."""
        sent = self._counted(self._sent(body, content_type))
        if len(sent) > 1:
            raise Refused("too_many_images", "one image at a time is explained")
        return self._read(sent[0][1], called(sent[0][0], 0), lambda image: image)

    def counted(self, images: int) -> None:
        """Raise Refused for a request with none, or with more than are allowed."""
        if not images:
            raise Refused("no_image", "there is no image in this request")
        if images > self._max_images:
            raise Refused("too_many_images", f"at most {self._max_images} images in one request")

    def _counted(self, sent: list[tuple[str | None, bytes]]) -> list[tuple[str | None, bytes]]:
        self.counted(len(sent))
        return sent

    def _sent(self, body: bytes, content_type: str) -> list[tuple[str | None, bytes]]:
        header = Message()
        header["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
        kind = header.get_content_type() if content_type else ""
        if kind == "multipart/form-data":
            boundary = header.get_boundary()
            if not boundary:
                raise Refused("malformed", "the content type multipart/form-data has no boundary")
            return [(encodable(name) or None, data) for name, data in _files(body, boundary, self._max_images)]
        if kind == "application/json":
            return [(None, _from_base64(text, place)) for place, text in enumerate(_from_json(body))]
        if kind.startswith("image/") or kind == RAW:
            return [(None, body)] if body else []
        raise Refused(
            "content_type",
            "send multipart/form-data with files, application/json with base64 texts in `images`, or one image as it "
            "is with its own content type, such as image/jpeg",
        )

    def pixels(self, data: bytes, called: str) -> Pixels:
        """One image, decoded and preprocessed. Raises Refused."""
        return self._read(data, called, self.preprocess)

    def _read(self, data: bytes, called: str, use: Callable[[Image.Image], Made]) -> Made:
        try:
            return use(open_image(BytesIO(data), called, fits=self._fits))
        except BadImage as bad:
            raise Refused(REASONS[bad.kind], f"{called}: {bad.reason}") from None
        except MemoryError:
            raise Refused("memory_full", "not enough memory for this image now", retry_after=1) from None

    def fits(self, size: Size, called: str) -> None:
        """Raise Refused for pixels of a (width, height) that are, or become, too many."""
        try:
            self._fits(size)
        except Unfit as why:
            raise Refused(REASONS[why.kind], f"{called}: {why}") from None

    def from_array(self, pixels: NDArray[np.uint8], called: str) -> Pixels:
        """What the model sees of RGB pixels (height, width, 3). Raises Refused."""
        from PIL import Image

        try:
            return self.preprocess(Image.fromarray(pixels))
        except BadImage as bad:
            raise Refused(REASONS[bad.kind], f"{called}: {bad.reason}") from None

    def _fits(self, size: Size) -> None:
        """Against this server's limit, both as sent and as resized, before a pixel is decoded."""
        self.preprocess.refuse(size, self._max_pixels)


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


def called(name: str | None, place: int) -> str:
    """How an image is called in messages."""
    return f"image {place + 1}" if name is None else f'"{one_line(name[:100])}"'


def _files(body: bytes, boundary: str, most: int) -> list[tuple[str, bytes]]:
    """(file name, content) of every part, in order. Raises Refused for a damaged body and for parts without a file."""
    reader = _Reader(most)
    try:
        parser = MultipartParser(boundary.encode("latin-1"), reader.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Refused("malformed", f"the multipart body cannot be read: {reason(error)}") from None
    if not reader.ended:
        raise Refused("malformed", "the multipart body ends before its last boundary")
    return reader.found


class _Reader:
    def __init__(self, most: int) -> None:
        self.most = most
        self.found: list[tuple[str, bytes]] = []
        self.ended = False
        self._field = b""
        self._value = b""
        self._disposition = ""
        self._content = bytearray()

    def callbacks(self) -> dict[str, object]:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        if len(self.found) >= self.most:
            raise Refused("too_many_images", f"at most {self.most} images in one request")
        self._disposition, self._content = "", bytearray()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value.decode("utf-8", "replace")
        self._field = self._value = b""

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def part_end(self) -> None:
        message = Message()
        message["content-disposition"] = self._disposition.replace("\r", " ").replace("\n", " ")
        name = message.get_filename()
        if name is None:
            field = message.get_param("name", "?", "content-disposition")
            raise Refused("malformed", f'the form field "{field}" is no file; send images as files')
        self.found.append((name, bytes(self._content)))

    def end(self) -> None:
        self.ended = True
