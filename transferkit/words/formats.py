"""Numbers as people read them: one rule for the terminal and the report page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.words.text import printable

SHARES = ("top1", "top5", "r2")
UNITS = {"share": (100, " %"), "points": (100, " points")}  # of metrics: what they are multiplied by, and the word
BOUNDS = {"share": (0.0, 1.0), "p": (0.0, 1.0)}  # what metrics of a unit can be; others have no bound of their own
DIGITS = {"ratio": 3, "p": 2}


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage, or a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def hundredths(value: float, form: str = ".1f") -> str:
    """A fraction in per cent or points, without the word, for a number whose unit stands beside it."""
    return f"{100 * value:{form}}"


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


def settings_text(settings: Mapping[str, Any]) -> str:
    """{"seed": 3, "lingering.p_lo": None} -> "seed=3, lingering.p_lo=null", as a command line has it."""
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in settings.items())


def named(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """{metric: {number: value}} as {"metric.number": value}; a metric's only number goes by its name alone."""
    return {
        metric if len(values) == 1 else f"{metric}.{key}": value
        for metric, values in metrics.items()
        for key, value in values.items()
    }


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


def in_unit(value: float | None, unit: str) -> str:
    """A metric's value in its unit, or a dash: shares in per cent, differences of shares in points."""
    if value is None:
        return "–"
    factor, word = UNITS.get(unit, (1, ""))
    return f"{factor * value:.1f}{word}" if word else number(value, DIGITS.get(unit, 4))


def plus_minus(mean: float | None, sd: float | None, unit: str = "number") -> str:
    """A mean with its standard deviation, to the second significant digit of that; the mean alone without one."""
    if mean is None or sd is None:
        return in_unit(mean, unit)
    factor, word = UNITS.get(unit, (1, ""))
    mean, sd = factor * mean, factor * sd
    places = _places(sd)
    if places is None:
        return f"{number(mean)} ± {number(sd, 2)}{word}"
    return f"{mean:.{places}f} ± {sd:.{places}f}{word}"


def interval(low: float | None, high: float | None, sd: float | None = None, unit: str = "number") -> str:
    """`low` to `high`, to the digits that `plus_minus` gives that standard deviation, or a dash."""
    if low is None or high is None:
        return "–"
    factor, word = UNITS.get(unit, (1, ""))
    low, high = factor * low, factor * high
    places = (1 if word else None) if sd is None else _places(factor * sd)
    if places is not None:
        return f"{low:.{places}f} to {high:.{places}f}{word}"
    return " to ".join(number(end, DIGITS.get(unit, 4)) for end in (low, high)) + word


def _places(sd: float) -> int | None:
    """Decimal places down to the second significant digit; None for none (0) and for very small and large ones."""
    if not 1e-5 <= sd < 1e6:
        return None
    return max(0, 1 - math.floor(math.log10(sd)))
