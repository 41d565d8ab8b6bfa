"""Class names that come without an order, and images that come by the name of their class. No NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial


def class_order(names: Iterable[str]) -> partial[tuple[int, str]]:
    """A key to sort by: the name, or the number where all of the names are whole numbers."""
    return partial(_placed, all(name.isascii() and name.isdigit() for name in names))


def _placed(numbers: bool, name: str) -> tuple[int, str]:
    return (int(name) if numbers else 0), name


def by_class(classes: Sequence[str], images: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """{class: its images} of (class, image), with every class in its order, also one without images."""
    found: dict[str, list[str]] = {name: [] for name in classes}
    for name, image in images:
        found[name].append(image)
    return found


def labels_in(classes: Sequence[str], names: Iterable[str]) -> list[int]:
    """The place of each name in the class list."""
    position = {name: index for index, name in enumerate(classes)}
    return [position[name] for name in names]
