"""How many scans a JPEG holds: each is a pass over all of its pixels, so a thousand make a small file take minutes."""

from __future__ import annotations

import os
import re
from typing import IO

_MARKER = re.compile(rb"\xff+[^\x00\x01\xff\xd0-\xd8]")  # one with a length behind it, or the end
_START_OF_SCAN, _END = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_MOST_AT_ONCE = 1 << 20


def jpeg_scans(file: IO[bytes], most: int) -> int:
    """The scans of the JPEG that a file begins with, up to its end marker; it stops counting above `most`.

    What lies in segments (a thumbnail) or behind the end (a phone's video, a camera's further pictures) is not
    counted. A JPEG that is not progressive and has every component in its first scan has no other.
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
        size = min(8 * size, _MOST_AT_ONCE)
    return None
