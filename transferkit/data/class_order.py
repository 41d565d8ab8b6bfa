"""How class names that come without an order are sorted."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial


def class_order(names: Iterable[str]) -> partial[tuple[int, str]]:
    """A key to sort by: the name, or the number where all of the names are whole numbers."""
    return partial(_placed, all(name.isascii() and name.isdigit() for name in names))


def _placed(numbers: bool, name: str) -> tuple[int, str]:
    return (int(name) if numbers else 0), name
