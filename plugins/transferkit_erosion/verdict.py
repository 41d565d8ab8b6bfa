"""Erosion in sentences: up to four for a reader who knows no paper, and the small print."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from transferkit.report import count, hundredths, percent
from transferkit_erosion.arms import AFTER, BEFORE

if TYPE_CHECKING:
    from transferkit.statistics import Estimate
    from transferkit_erosion.measure import Findings, Shortcut
    from transferkit_erosion.options import Options

RELIED = 0.5
"""At this shortcut reliance the mark is learned, whatever it adds: an accuracy near 1 leaves it little to add."""


def verdict(options: Options, found: Findings) -> str | None:
    """One to four sentences: forgetting against the control, the shortcut's gate, plasticity."""
    parts = [_forgetting(options, found), _shortcut(options, found), _plasticity(options, found)]
    return " ".join(filter(None, parts)) or None


def _forgetting(options: Options, found: Findings) -> str | None:
    lost, before, after = found.losses.get(AFTER), found.arms.on(BEFORE, "clean"), found.arms.on(AFTER, "clean")
    if lost is None or before is None or after is None:
        return None
    went = f"On clean images the accuracy went from {percent(before.accuracy.value)} to {percent(after.accuracy.value)}"
    if after.accuracy.known and not after.accuracy.above(found.chance):
        went += f", which guessing ({percent(found.chance)}) may well reach"
    forgotten = lost.forgetting
    if not forgotten.known:
        images = count(len(before.labels), "image")
        went += f": too few classes or images ({images}) to say what was forgotten"
    elif forgotten.above(0):
        went += f": {_points(forgotten)} were forgotten"
    elif forgotten.below(0):
        went += f": nothing was forgotten, {_points(_turned(forgotten))} were gained"
    else:
        went += f": whether anything was forgotten is not certain, {_points(forgotten)}"
    excess = found.excess
    if math.isnan(excess.value):
        return went + "; without a control it is unknown how much of that ordinary retraining would have taken."
    if not excess.known:
        return went + "; these are too few images to compare it with the control."
    if excess.above(0):
        return f"{went}; that is {_points(excess)} worse than the control on clean images."
    if excess.below(0):
        return f"{went}; that is {_points(_turned(excess))} better than the control on clean images."
    return f"{went}; it could not be told apart from the control on clean images ({_points(excess, brackets=True)})."


def was_learned(options: Options, shortcut: Shortcut) -> bool | None:
    """Whether an arm learned the mark, where the intervals of gate or reliance say so; None where they do not."""
    gate, reliance = shortcut.gate, shortcut.reliance
    if gate.low >= options.learned or reliance.low >= RELIED:
        return True
    never_relied = math.isnan(reliance.value) or reliance.high < RELIED
    return False if gate.high < options.learned and never_relied else None


def _shortcut(options: Options, found: Findings) -> str | None:
    shortcut = found.shortcuts.get(AFTER)
    if shortcut is None or math.isnan(shortcut.gate.value):
        return None
    adds = f"the right mark adds {_points(shortcut.gate)} of accuracy"
    learned = was_learned(options, shortcut)
    if learned is False:
        return f"The mark was not learned ({adds}), so nothing here says what a learned shortcut does."
    start = "The mark was learned" if learned else "Whether the mark was learned is not certain"
    if math.isnan(shortcut.reliance.value):
        return f"{start}: {adds}."
    trusted = shortcut.reliance.told(hundredths, " %")
    return f"{start}: {adds}, and {trusted} of images bearing another class's mark are taken for that class."


def _plasticity(options: Options, found: Findings) -> str | None:
    again = found.final.get(options.relearn or "")
    if again is None:
        return None
    sentence = f"Relearning the clean task {_compared(again)} training anew on the same budget"
    warm = found.final.get(options.warm or "")
    if warm is None:
        return sentence + "; without going on from a clean control for as long, the mark need not be the cause."
    return f"{sentence}; going on from the clean control instead {_compared(warm)} training anew."


def _compared(gap: Estimate) -> str:
    """How an end compares with that of training anew, which was better by `gap`."""
    if gap.above(0):
        return f"ends {_points(gap)} less accurate than"
    if gap.below(0):
        return f"ends {_points(_turned(gap))} more accurate than"
    if gap.known:
        return f"could not be told apart at the end ({_points(_turned(gap), brackets=True)}) from"
    return f"has at its end a difference of {100 * -gap.value:+.1f} points, without an interval, from"


def _points(found: Estimate, brackets: bool = False) -> str:
    return found.told(hundredths, " points", brackets=brackets)


def _turned(found: Estimate) -> Estimate:
    return replace(found, value=-found.value, low=-found.high, high=-found.low)


def notes(options: Options, found: Findings) -> list[str]:
    """Counts, chance, what the intervals cover, and which numbers need the gate."""
    clean = found.arms.on(AFTER, "clean") or found.arms.on(BEFORE, "clean")
    images = len(clean.labels) if clean is not None else 0
    lines = [
        f"{images} clean images of {len(found.arms.classes)} classes; guessing gives {100 * found.chance:.1f} %.",
        "Intervals are 95 % over classes, whose images are not independent, and paired where two models are compared; "
        "few classes make them wide. They do not cover another training: compare several seeds.",
        "Forgetting: accuracy on clean images before minus after. Normalised: divided by what was above chance before.",
        "Shortcut reliance: the share of images with another class's mark that are taken for that class. The gate is "
        "the accuracy that the right mark adds to the images that bear it. Where its whole interval is below "
        f"{100 * options.learned:.0f} points and that of the reliance below {100 * RELIED:.0f} %, the mark was not "
        "learned: what is forgotten has another cause. Where either whole interval is above, it was.",
    ]
    if options.control is None:
        lines.append(
            "There is no control: without a stage of the same schedule on clean images, what ordinary retraining "
            "forgets is blamed on the mark."
        )
    if any(point.early for points in found.curves.values() for point in points):
        lines.append("Points within the first epochs are of a fixed part of the images, those at epochs' ends of all.")
    return lines
