"""Numbers as people read them: one rule for the terminal and the report page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.text import printable

SHARES = ("top1", "top5", "r2")


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage, or a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def points(value: float, digits: int = 1) -> str:
    """A difference of two fractions in percentage points."""
    return f"{100 * value:.{digits}f} points"


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, or a dash; large ones to the unit, not as 2e+04."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e15 else f"{value:.{digits}g}"


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first few of many names: `a, b, c and 7 more`."""
    listed = printable(", ".join(names[:shown]))
    return f"{listed} and {len(names) - shown} more" if len(names) > shown else listed


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
    """The epoch of a record as people count, from 1 (files count from 0), or a dash; a mean to one decimal."""
    epoch = entry.get("epoch")
    return "–" if epoch is None else f"{round(epoch + 1, 1):g}"


def mean_of(entry: Mapping[str, Any], metric: str) -> str:
    """A metric of a stage's best or last epoch or of an evaluation, with its standard deviation over seeds if any."""
    share, spread = metric in SHARES, (entry.get("sd") or {}).get(metric)
    if spread is None:
        return percent(entry.get(metric)) if share else number(entry.get(metric))
    return f"{100 * entry[metric]:.1f} ± {percent(spread)}" if share else plus_minus(entry[metric], spread)


def plus_minus(mean: float | None, sd: float | None) -> str:
    """A mean with its standard deviation, to the second significant digit of that; the mean alone without one."""
    if mean is None or sd is None:
        return number(mean)
    places = _places(sd)
    if places is None:
        return f"{number(mean)} ± {number(sd, 2)}"
    return f"{mean:.{places}f} ± {sd:.{places}f}"


def interval(low: float | None, high: float | None, sd: float | None = None) -> str:
    """`low` to `high`, to the digits that `plus_minus` gives that standard deviation, or a dash."""
    if low is None or high is None:
        return "–"
    places = _places(sd) if sd is not None else None
    return f"{number(low)} to {number(high)}" if places is None else f"{low:.{places}f} to {high:.{places}f}"


def _places(sd: float) -> int | None:
    """Decimal places down to the second significant digit; None for none (0) and for very small and large ones."""
    if not 1e-5 <= sd < 1e6:
        return None
    return max(0, 1 - math.floor(math.log10(sd)))
