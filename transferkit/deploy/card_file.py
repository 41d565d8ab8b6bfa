"""README.md of a model folder: parts that are written anew stand between marks, and all else is whoever edited it's.

A mark holds the hash of its part, so a part that somebody edited is known, and left as it is.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from transferkit.system.atomic import write_text

CARD = "README.md"
PART = re.compile(
    r"<!-- transferkit (?P<name>[a-z]+) (?P<hash>[0-9a-f]{16}) -->\n(?P<text>.*?)<!-- /transferkit (?P=name) -->\n",
    re.DOTALL,
)


def read_card(folder: Path) -> str | None:
    """What README.md says; None where there is none that can be read as text."""
    try:
        return (folder / CARD).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def write_card(folder: Path, text: str) -> bool:
    """Put the text into README.md, unless it says that already or is no text; returns whether it was written.

    Raises StorageError.
    """
    there = read_card(folder)
    if there == text or (there is None and (folder / CARD).exists()):
        return False
    write_text(folder / CARD, text)
    return True


def part(name: str, text: str) -> str:
    """A part between its marks."""
    text = text.strip("\n") + "\n"
    return f"<!-- transferkit {name} {_hash(text)} -->\n{text}<!-- /transferkit {name} -->\n"


def with_part(card: str, name: str, text: str, after: str | None = None) -> str:
    """The card with a part in place of the old one, or behind the part `after`; unchanged where neither is there.

    A part that somebody edited stays.
    """
    places = {found["name"]: found for found in PART.finditer(card)}
    old = places.get(name)
    if old is not None:
        untouched = old["hash"] == _hash(old["text"])
        return card[: old.start()] + part(name, text) + card[old.end() :] if untouched else card
    behind = places.get(after or "")
    if behind is None:
        return card
    return card[: behind.end()] + "\n" + part(name, text) + card[behind.end() :]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
