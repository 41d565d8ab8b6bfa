"""Numbers as people read them: one rule for the terminal and the report page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage, or a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, or a dash."""
    return "–" if value is None else f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def epoch_of(entry: Mapping[str, Any]) -> str:
    """The epoch of a record as people count, from 1 (files count from 0), or a dash."""
    epoch = entry.get("epoch")
    return "–" if epoch is None else f"{epoch + 1:g}"
