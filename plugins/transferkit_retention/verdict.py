"""Retention in up to three sentences for a reader who knows no paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transferkit.formats import percent
from transferkit_retention.groups import SHOWN, SOURCE_ONLY

if TYPE_CHECKING:
    from transferkit_retention.intervals import Comparison
    from transferkit_retention.report import Findings


def verdict(found: Findings) -> str:
    """What is left, between which bounds, and where most was lost."""
    whole = found.overall
    if not whole.images:
        return "There are no source images, so nothing can be said about what is left of the source classes."
    if math.isnan(whole.source):
        return (
            f"With the source's head, the fine-tuned model still names {percent(whole.swap)} of {whole.images} source "
            "images. How many the source model itself names is unknown, so is the share that was kept."
        )
    text = (
        f"With the source's head, the fine-tuned model still names {percent(whole.swap)} of {whole.images} source "
        f"images; the source model names {percent(whole.source)}."
    )
    if math.isnan(whole.ratio):
        return text
    text += f" So {percent(whole.ratio, 0)} of that ability is left{_between(whole)}."
    return f"{text} {_where(found)}".strip()


def _between(part: Comparison) -> str:
    low, high = part.ratio_interval
    return "" if math.isnan(low) else f" ({percent(low, 0)} to {percent(high, 0)})"


def _where(found: Findings) -> str:
    """The contrast between classes that the target shows and those it hardly does."""
    groups = {name: part for name, (_, part) in found.groups.items() if not math.isnan(part.ratio)}
    if SHOWN not in groups or SOURCE_ONLY not in groups:
        return ""
    shown, hidden = groups[SHOWN], groups[SOURCE_ONLY]
    kept = [f"{percent(part.ratio, 0)}{_between(part)}" for part in (shown, hidden)]
    if shown.ratio_interval[1] < hidden.ratio_interval[0]:
        lost = f"Most was lost of the classes that the target images show: {kept[0]} is left, against {kept[1]}"
        return f"{lost} of those they hardly show."
    if shown.ratio_interval[0] > hidden.ratio_interval[1]:
        return f"Classes that the target images show kept more: {kept[0]}, against {kept[1]} of those they hardly show."
    return f"Of the classes that the target images show {kept[0]} is left, of those they hardly show {kept[1]}."
