"""What the parts of a repeated run are called: seeds, or folds of one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def word(repeats: Sequence[Mapping[str, Any]]) -> str:
    """What one of them is: `seed` or `fold`."""
    return "fold" if any(repeat.get("fold") is not None for repeat in repeats) else "seed"


def number(repeat: Mapping[str, Any], place: int = 0) -> str:
    """Which seed or fold it is; its place where that is not recorded."""
    known = repeat.get("fold") if repeat.get("fold") is not None else repeat.get("seed")
    return str(place if known is None else known)


def folder_name(repeat: Mapping[str, Any]) -> str:
    """The name of its folder in `repeats/`: `seed-3`, `fold-1`."""
    return f"{word([repeat])}-{number(repeat)}"


def of(repeats: Sequence[Mapping[str, Any]]) -> str:
    """1 seed, 5 folds."""
    return f"{len(repeats)} {word(repeats)}{'' if len(repeats) == 1 else 's'}"
