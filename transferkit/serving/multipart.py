"""The files of a multipart/form-data body that is in memory, parsed by python-multipart."""

from __future__ import annotations

from email.message import Message

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from transferkit.serving.refusals import Refused


def files(body: bytes, boundary: str, most: int) -> list[tuple[str, bytes]]:
    """(file name, content) of every part, in order. Raises Refused for a damaged body and for parts without a file."""
    reader = _Reader(most)
    try:
        parser = MultipartParser(boundary.encode("latin-1"), reader.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Refused("malformed", f"the multipart body cannot be read: {error}") from None
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
