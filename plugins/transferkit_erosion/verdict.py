"""What `erosion` found, in sentences for a reader who knows no paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transferkit.formats import percent, points
from transferkit_erosion.arms import AFTER, BEFORE

if TYPE_CHECKING:
    from transferkit_erosion.analyzer import Erosion
    from transferkit_erosion.report import Findings

RELIED = 0.5
"""At this shortcut reliance the mark is learned, whatever it adds: an accuracy near 1 leaves it little to add."""


def verdict(options: Erosion, found: Findings) -> str | None:
    """One to four sentences: forgetting against the control, the shortcut's gate, plasticity."""
    parts = [_forgetting(options, found), _shortcut(options, found), _plasticity(options, found)]
    text = " ".join(part for part in parts if part)
    return text or None


def _forgetting(options: Erosion, found: Findings) -> str | None:
    lost, before = found.losses.get(AFTER), found.arms.on(BEFORE, "clean")
    after = found.arms.on(AFTER, "clean")
    if lost is None or before is None or after is None:
        return None
    went = f"On clean images the accuracy went from {percent(before.accuracy)} to {percent(after.accuracy)}: "
    if lost.value >= 0:
        went += f"{points(lost.value)} ({_range(lost.low, lost.high)}) were forgotten"
    else:
        went += f"nothing was forgotten, {points(-lost.value)} ({_range(-lost.high, -lost.low)}) were gained"
    excess, low, high = found.excess
    if math.isnan(excess):
        return went + "; without a control it is unknown how much of that ordinary retraining would have taken."
    if math.isnan(low):
        return went + "; these are too few images to compare it with the control."
    if low > 0:
        told = f"that is {points(excess)} ({_range(low, high)}) worse than the control on clean images"
    elif high < 0:
        told = f"that is {points(-excess)} ({_range(-high, -low)}) better than the control on clean images"
    else:
        told = f"that is no different from the control on clean images within the error ({_range(low, high)} points)"
    return f"{went}; {told}."


def _shortcut(options: Erosion, found: Findings) -> str | None:
    shortcut = found.shortcuts.get(AFTER)
    if shortcut is None or math.isnan(shortcut.gate):
        return None
    adds = f"the right mark adds {points(shortcut.gate)} of accuracy"
    trusted = f"{percent(shortcut.reliance)} of images bearing another class's mark are taken for that class"
    if shortcut.gate < options.learned and not shortcut.reliance >= RELIED:
        return f"The mark was not learned ({adds}), so nothing here says what a learned shortcut does."
    if math.isnan(shortcut.reliance):
        return f"The mark was learned: {adds}."
    return f"The mark was learned: {adds}, and {trusted}."


def _plasticity(options: Erosion, found: Findings) -> str | None:
    again = found.plasticity.get(options.relearn or "")
    if again is None:
        return None
    sentence = f"Relearning the clean task ends {_compared(again.final_gap)} training anew on the same budget"
    warm = found.plasticity.get(options.warm or "")
    if warm is None:
        return sentence + "; without going on from a clean control for as long, the mark need not be the cause."
    return f"{sentence}; going on from the clean control instead ends {_compared(warm.final_gap)} training anew."


def _compared(gap: float) -> str:
    if round(abs(gap), 3) == 0:
        return "as accurate as"
    return f"{points(abs(gap))} {'less' if gap > 0 else 'more'} accurate than"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"
