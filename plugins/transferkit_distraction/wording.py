"""Means, shares and intervals as sentences have them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """The mean of the finite values; NaN where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def percent_of(share: float) -> str:
    """A share as whole per cents."""
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"


def value(number: float) -> str:
    """Two decimals, or a dash."""
    return "–" if math.isnan(number) else f"{number:.2f}"


def between(interval: tuple[float, float], form: str = ".2f", scale: float = 1) -> str:
    """The interval in brackets; nothing where there is none."""
    low, high = interval
    return "" if math.isnan(low) else f" (95 % interval {scale * low:{form}} to {scale * high:{form}})"
