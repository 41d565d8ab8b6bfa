"""Names and sentences that come from elsewhere: how they are compared, and how they are shown."""

from __future__ import annotations

import re
import textwrap
import unicodedata

# what moves a terminal's cursor, colours or clears it, what makes text read in another order than it is written, and
# what neither XML nor UTF-8 can hold
_CODES = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff"
_HIDDEN = re.compile(f"[{_CODES}]")
_HIDDEN_OR_BREAK = re.compile(rf"[{_CODES}\t\n]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with control characters and undecodable bytes written as escapes: `\x1b`, `\xe9`.

    Line breaks and tabulators stay. File names whose bytes are no UTF-8 hold such bytes as lone surrogates.
    """
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub(_escaped, text)


def one_line(text: str) -> str:
    r"""A name as it stands in class lists, ids, cells and rows: as `printable`, and line breaks as `\x0a` too."""
    return text if text.isascii() and text.isprintable() else _HIDDEN_OR_BREAK.sub(_escaped, text)


def encodable(text: str) -> str:
    r"""The text with undecodable bytes as escapes and all else as it is, so that it can be written as UTF-8."""
    return text if text.isascii() else _SURROGATE.sub(_escaped, text)


def printable_json(text: str) -> str:
    r"""JSON as `printable`, in JSON's own escapes (`\u001b`): what a reader gets of it is the same."""
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub(lambda one: f"\\u{ord(one[0]):04x}", text)


def wrapped(text: str, width: int) -> str:
    """The text with lines of so many characters, broken between words; what goes on is indented as the line is.

    A word that is longer, such as a path, stays whole: the terminal wraps it, and it can still be copied.
    """
    lines = (hanging(line, len(line) - len(line.lstrip(" ")), width) for line in text.split("\n"))
    return "\n".join(lines)


def hanging(line: str, indent: int, width: int) -> str:
    """A line broken in the same way; what goes on is indented so far."""
    if len(line) <= width:
        return line
    below = " " * indent
    return textwrap.fill(line, width, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)


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
