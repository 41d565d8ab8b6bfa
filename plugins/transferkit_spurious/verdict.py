"""Spurious inputs in up to three sentences for a reader who knows no paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.formats import number
from transferkit_spurious.intervals import Interval

if TYPE_CHECKING:
    from transferkit_spurious import regions, rows
    from transferkit_spurious.analyzer import Spurious

TELLING = ("shift", "scale", "correlate")
"""The interventions that can tell: permuting columns that do not matter changes nothing in law."""


def of_rows(options: Spurious, found: rows.Table) -> str:
    """How far the suspect block moves the answers, and whether that is more than without transfer."""
    first, end = options.blocks[options.suspect]
    effect = found.effect("target", options.suspect, "shift")
    assert effect is not None
    text = (
        f"Shifting the columns {first} to {end - 1} ({options.suspect}) by one s.d. moves the target model's answer by "
        f"{between(effect.moved)} s.d. of the output"
    )
    change = effect.change
    text += f" and changes its loss of {number(found.loss['target'].mean, 3)} by {between(change)}"
    base = found.effect("baseline", options.suspect, "shift")
    text += f"; the baseline's answer moves by {between(base.moved)}." if base is not None else "."
    for model in dict.fromkeys(model for model, _ in found.excess):
        text += " " + against({how: found.excess[model, how] for how in TELLING}, model)
    return text


def of_images(found: regions.Pictures) -> str:
    """The patch that matters most, and the region against the baseline."""
    change, moved = found.patches["target"]
    row, column = divmod(int(moved.argmax()), moved.shape[1])
    text = (
        f"Of {moved.size} patches, the one in row {row + 1}, column {column + 1} matters most to the target model: "
        f"without it the label's probability moves by {number(float(moved[row, column]), 3)} and the loss by "
        f"{number(float(change[row, column]), 3)} on {found.images} images."
    )
    for model in dict.fromkeys(model for model, _ in found.excess):
        text += " " + against({how: gap for (name, how), gap in found.excess.items() if name == model}, model)
    return text


def against(gaps: dict[str, Interval], model: str) -> str:
    """Whether a model answers more to the intervention than the baseline does, over all interventions that tell."""
    shown = ", ".join(f"{how} {between(gap, signed=True)}" for how, gap in gaps.items())
    if not all(gap.known for gap in gaps.values()):
        return f"Against the baseline, {model} moves by {shown}."
    if all(gap.low > 0 for gap in gaps.values()):
        return f"Of these two trainings, {model} answers to it more than the baseline (minus baseline: {shown})."
    if all(gap.high < 0 for gap in gaps.values()):
        return f"Of these two trainings, {model} answers to it less than the baseline (minus baseline: {shown})."
    return f"Whether {model} answers to it more than the baseline depends on the probe (minus baseline: {shown})."


def between(interval: Interval, *, signed: bool = False) -> str:
    """0.21 (0.20 to 0.22)."""
    sign = "+" if signed and interval.mean > 0 else ""
    ends = f" ({number(interval.low, 3)} to {number(interval.high, 3)})" if interval.known else ""
    return f"{sign}{number(interval.mean, 3)}{ends}"
