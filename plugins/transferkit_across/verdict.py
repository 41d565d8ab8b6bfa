"""The sentences of `across`: verdict, small print, and what could not be compared."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferkit_across.curves import EPOCHS, STEPS, Line, Measure
from transferkit_across.pairs import Pair, Quantity

if TYPE_CHECKING:
    from transferkit_across.report import Findings

LIKE = 0.5  # a change at equal steps of less than this share of the one at equal epochs is called the smaller part


def verdict(found: Findings) -> str:
    """Up to three sentences for a reader who knows no paper."""
    texts = [_agreement(quantity, found) for quantity in found.quantities[:2]]
    texts.append(_sizes(found))
    texts = [text for text in texts if text]
    return " ".join(texts) or f"{len(found.entries)} models side by side; the table has their numbers."


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
    if len(values) > 1:
        return f"r from {min(values):.2f} to {max(values):.2f} (median {statistics.median(values):.2f})"
    one = found[0].correlation
    return f"r = {one.r:.2f} (95 % interval {one.low:.2f} to {one.high:.2f})"


def _sizes(found: Findings) -> str:
    """How the first number that was measured changes with training-set size, at equal epochs and at equal steps."""
    for measure in found.measures:
        epochs, steps = (_spanning(found.lines(kind), measure) for kind in (EPOCHS, STEPS))
        told = [_change(line, measure) for line in (epochs, steps) if line is not None]
        if told:
            text = f"{measure.text[:1].upper()}{measure.text[1:]}: {'; '.join(told)}."
            return text if epochs is None or steps is None else text + _reading(epochs, steps, measure)
    return ""


def _spanning(known: Sequence[Line], measure: Measure) -> Line | None:
    return next((line for line in known if line.ends(measure)), None)


def _change(line: Line, measure: Measure) -> str:
    ends = line.ends(measure)
    assert ends is not None
    few, many = ends
    return (
        f"{few.mean(measure):.3g} with {few.facts.images} training images and {many.mean(measure):.3g} with "
        f"{many.facts.images}, at {line.name}"
    )


def _reading(epochs: Line, steps: Line, measure: Measure) -> str:
    """What the two lines say together, where they are of the same sizes and it is known how far they may be off."""
    sizes = [[point.facts.images for point in line.ends(measure) or ()] for line in (epochs, steps)]
    change, error = epochs.change(measure), epochs.error(measure)
    if sizes[0] != sizes[1] or math.isnan(error) or math.isnan(steps.error(measure)):
        return ""
    single = any(len(point.entries) == 1 for line in (epochs, steps) for point in line.ends(measure) or ())
    care = " One seed each: another may differ." if single else ""
    if abs(change) <= error:
        return " At equal epochs that is within the noise."
    share = steps.change(measure) / change
    if share < -LIKE:
        return f" At equal steps it goes the other way: the steps make the difference at equal epochs.{care}"
    if share < LIKE:
        return f" Most of the difference at equal epochs goes with the number of steps, not of images.{care}"
    return f" The difference stays at equal steps, so the number of steps does not explain it.{care}"


def notes(found: Findings, drawn: int) -> list[str]:
    """What the numbers are of, and how sure."""
    lines = []
    if found.pairs:
        lines.append(
            "r is Pearson's over the source classes that both models have values for, matched by name; intervals are "
            "95 %, by Fisher's z."
        )
        images = [count for pair in found.pairs for count in pair.images]
        median = statistics.median(images) if images else 0
        lines.append(
            f"Half of the classes have at most {median:g} images. Shares of few images are noisy, which pulls r "
            "towards 0; pairs that differ by their seed only show how high it could be."
        )
        most = max((sum(p.quantity == q for p in found.pairs) for q in found.quantities), default=0)
        if most > drawn:
            lines.append(f"{drawn} pairs per quantity are drawn, those that differ in more than the seed first.")
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


def gaps(found: Findings, of: str | None, by: str) -> list[str]:
    """What could not be compared, and why."""
    texts = [
        f"No r for {pair.quantity.text} of {pair.one.label} and {pair.other.label}: {pair.correlation.why}."
        for pair in found.pairs
        if pair.correlation.why
    ]
    if of is None:
        texts += _missing(found)
    for axis in found.by:
        without = sum(getattr(point.facts, axis) is None for point in found.points)
        if without:
            texts.append(
                f"{without} of {len(found.points)} recipes have no {axis} on record and are not drawn over it."
            )
    if "images" in found.by and not found.lines(STEPS) and found.lines(EPOCHS):
        texts.append("No models of equal steps: whether the images or the steps make the difference cannot be told.")
    if by != "auto" and not found.measures:
        texts.append(f"There is no number to draw over {by}.")
    return texts


def _missing(found: Findings) -> list[str]:
    texts = []
    for plugin in ("retention", "bias"):
        have = [entry for entry in found.entries if plugin in entry.reports]
        if len(have) < len(found.entries):
            names = ", ".join(entry.label for entry in found.entries if plugin not in entry.reports)
            texts.append(f"No {plugin} analysis of {names}.")
    have = [entry for entry in found.entries if "bias" in entry.reports]
    if len(have) > 1 and not any(quantity.targets for quantity in found.quantities):
        texts.append("The models have different target classes, so their bias cannot be compared.")
    return texts
