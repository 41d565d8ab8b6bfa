"""Names and sentences that come from elsewhere: how they are compared, and how they are shown."""

from __future__ import annotations

import re
import unicodedata

# what moves a terminal's cursor, colours or clears it, and what makes text read in another order than it is written
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with control characters and undecodable bytes written as escapes: `\x1b`, `\xe9`.

    Line breaks and tabulators stay. File names whose bytes are no UTF-8 hold such bytes as lone surrogates.
    """
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub(_escaped, text)


def comparable(text: str) -> str:
    """The one form in which names are compared: Unicode's NFC, without blanks around it.

    A file system may hand out `é` as two characters where a class list has one.
    """
    return unicodedata.normalize("NFC", text).strip()


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that was no UTF-8
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
