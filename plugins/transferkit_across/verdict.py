"""The sentences of `across`: verdict and small print."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferkit.statistics import false_discovery
from transferkit_across.curves import EPOCHS, STEPS, Line, Measure
from transferkit_across.measure import Findings
from transferkit_across.pairs import Pair, Quantity

if TYPE_CHECKING:
    from transferkit.statistics import Estimate
    from transferkit_across.options import Options

LIKE = 0.5  # a change at equal steps that is surely less than this share of the one at equal epochs is the smaller part


def verdict(found: Findings) -> str:
    """Up to three sentences for a reader who knows no paper."""
    texts = [*(_agreement(quantity, found) for quantity in found.quantities[:2]), _sizes(found)]
    return " ".join(filter(None, texts)) or f"{len(found.entries)} models side by side; the table has their numbers."


def _agreement(quantity: Quantity, found: Findings) -> str:
    known = [p for p in found.pairs if p.quantity == quantity and not math.isnan(p.correlation.r)]
    apart, seeds = [p for p in known if not p.seeds], [p for p in known if p.seeds]
    if not known:
        return ""
    name = quantity.text[:1].upper() + quantity.text[1:]
    if not apart:
        return f"{name} in two seeds of one recipe correlates over source classes with {_range(seeds)}."
    if len(apart) == 1:
        one = apart[0]
        text = f"{name} correlates with {_range(apart)} over {one.correlation.n} source classes between "
        text += f"{one.one.label} and {one.other.label}"
    else:
        text = f"{name} correlates over source classes with {_range(apart)} between {len(apart)} pairs of models"
    return text + (f"; between seeds of one recipe with {_range(seeds)}." if seeds else ".")


def _range(found: Sequence[Pair]) -> str:
    values = [pair.correlation.r for pair in found]
    corrected = [pair.corrected.value for pair in found if not math.isnan(pair.corrected.value)]
    few = f"; {statistics.median(corrected):.2f} corrected for the noise of few images" if corrected else ""
    if len(values) > 1:
        sure = int(false_discovery([pair.correlation.p for pair in found], 0.05).sum())
        text = f"r from {min(values):.2f} to {max(values):.2f} (median {statistics.median(values):.2f}{few}), "
        return text + f"certain not to be 0 in {sure} of {len(values)}"
    one = found[0].correlation
    text = f"r = {one.r:.2f} (95 % interval {one.low:.2f} to {one.high:.2f}{few})"
    return text if one.low > 0 or one.high < 0 else f"{text}, which may well be 0,"


def _sizes(found: Findings) -> str:
    """How the first number that was measured changes with training-set size, at equal epochs and at equal steps."""
    for measure in found.measures:
        epochs, steps = (
            next((line for line in found.lines(kind) if line.ends(measure)), None) for kind in (EPOCHS, STEPS)
        )
        told = [_change(line, measure) for line in (epochs, steps) if line is not None]
        if told:
            text = f"{measure.text[:1].upper()}{measure.text[1:]}: {'; '.join(told)}."
            return text if epochs is None or steps is None else text + _reading(epochs, steps, measure)
    return ""


def _change(line: Line, measure: Measure) -> str:
    few, many = line.ends(measure)
    change = line.change(measure)
    inside = change.told("{:+.3g}".format, "" if change.known else ", no interval", brackets=True)
    return (
        f"{few.mean(measure):.3g} with {few.facts.images} training images and {many.mean(measure):.3g} with "
        f"{many.facts.images}, at {line.name} ({inside})"
    )


def _reading(epochs: Line, steps: Line, measure: Measure) -> str:
    """What the two lines say together, where they are of the same sizes and it is known how far they may be off."""
    sizes = [[point.facts.images for point in line.ends(measure)] for line in (epochs, steps)]
    change, at_steps = epochs.change(measure), steps.change(measure)
    if sizes[0] != sizes[1] or not change.known or not at_steps.known:
        return ""
    single = any(len(point.entries) == 1 for line in (epochs, steps) for point in line.ends(measure))
    care = " One seed each: another may differ." if single else ""
    if not (change.above(0) or change.below(0)):
        return " At equal epochs that is within the noise."
    up = change.above(0)
    if at_steps.below(0) if up else at_steps.above(0):
        return f" At equal steps it goes the other way: the steps make the difference at equal epochs.{care}"
    if _less_than_half(at_steps, change):
        return f" Most of the difference at equal epochs goes with the number of steps, not of images.{care}"
    if at_steps.above(0) if up else at_steps.below(0):
        return f" A difference stays at equal steps, so the number of steps does not explain all of it.{care}"
    return f" How much of the difference at equal epochs goes with the number of steps is not certain.{care}"


def _less_than_half(part: Estimate, whole: Estimate) -> bool:
    """Whether a change is surely less than `LIKE` of another, in the other's direction; as if they were independent."""
    sign = 1 if whole.value > 0 else -1
    error = math.hypot(part.high - part.low, LIKE * (whole.high - whole.low)) / 2
    return sign * (LIKE * whole.value - part.value) > error


def notes(options: Options, found: Findings) -> list[str]:
    """What the numbers are of, and how sure."""
    lines = []
    if found.pairs:
        images = [count for pair in found.pairs for count in pair.images]
        lines += [
            "r is Pearson's over the source classes that both models have values for, matched by name; intervals are "
            "95 %, by Fisher's z.",
            f"Half of the classes have at most {statistics.median(images or [0]):g} images. Shares of few images are "
            "noisy, which pulls r towards 0; pairs that differ by their seed only show how high it could be.",
            "Corrected: r over the root of both reliabilities, the part of the spread over classes that so few images "
            "would not give by themselves (table pairs). That takes the noise of two models for independent; of the "
            "same images it is not, which pulls both numbers up.",
        ]
        most = max((sum(p.quantity == q for p in found.pairs) for q in found.quantities), default=0)
        if most > options.pictures:
            lines.append(
                f"{options.pictures} pairs per quantity are drawn, those that differ in more than the seed first."
            )
    if found.measures:
        lines.append("Numbers are of the weights each run kept: those of its best epoch (kept_epoch), not of its last.")
        single = sum(len(point.entries) == 1 for point in found.points)
        if single:
            lines.append(
                f"{single} of {len(found.points)} recipes have one seed only: how far another would be off is unknown."
            )
    if found.lines(EPOCHS) and found.lines(STEPS):
        lines.append(
            "At equal epochs a larger set means more steps. Only models of equal steps show what the images do."
        )
    return lines
