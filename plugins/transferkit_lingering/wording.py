"""Class names and counts in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def first_name(name: str) -> str:
    """The first of several names: "tench" of "tench, Tinca tinca"."""
    return name.split(",")[0].strip() or name


def count(number: int, noun: str) -> str:
    """1 image, 2 images, 2 classes."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def listing(parts: Sequence[str]) -> str:
    """One, two and three."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
