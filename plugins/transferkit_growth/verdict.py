"""Growth in sentences: what was forgotten, whether it was confused or lost, and what joint training would have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from transferkit.report import count, percent, points
from transferkit.statistics import Estimate
from transferkit_growth.measure import Findings

WHOLE = partial(percent, digits=0)
Values = Mapping[str, float | Estimate]


def verdict(found: Findings, values: Values) -> str:
    """What is gone with its interval, in which way, and how far joint training is."""
    before, after, among = (_of(values, name) for name in ("top1_before", "top1_after", "top1_among_old"))
    classes = count(len(np.unique(found.old.labels)), "old class")
    said = (
        f"Of {count(len(found.old.labels), 'image')} of {classes} the model "
        f"named {WHOLE(before.value)} right before it learned {count(len(found.new_classes), 'new class')}, and names "
        f"{WHOLE(after.value)} right now: {_gone(_of(values, 'forgotten'))}."
    )
    parts = [said, _way(_of(values, "confused"), _of(values, "lost"), among), _joint(values), _new(values)]
    return " ".join(part for part in parts if part)


def _of(values: Values, name: str) -> Estimate:
    found = values[name]
    return found if isinstance(found, Estimate) else Estimate(found)


def _gone(total: Estimate) -> str:
    if total.above(0):
        return f"{points(total.value)} forgotten{total.between(points)}"
    if total.below(0):
        return f"nothing is forgotten, {points(-total.value)} more are right{total.between(points)}"
    return f"{points(total.value)} less{total.between(points)}; that anything is forgotten is not certain"


def _way(confused: Estimate, lost: Estimate, among: Estimate) -> str:
    """Taken for new classes, lost altogether, or both; nothing where there is nothing to share out."""
    if confused.value <= 0 and lost.value <= 0:
        return ""
    text = f"If it could answer with old classes only, {WHOLE(among.value)} would be right: "
    if lost.value <= 0:
        return f"{text}nothing was lost, {points(confused.value)} are confused with new classes."
    if confused.value <= 0:
        return f"{text}nothing is confused with new classes, {points(lost.value)} were lost altogether."
    more = "more is confused than lost" if confused.value > lost.value else "more was lost than is confused"
    more = more if confused.value != lost.value else "as much is confused as was lost"
    return (
        f"{text}{points(confused.value)} are confused with new classes and {points(lost.value)} were lost altogether, "
        f"so {more}."
    )


def _joint(values: Values) -> str:
    joint, gap = _of(values, "top1_joint"), _of(values, "joint_gap")
    if math.isnan(joint.value):
        return ""
    if gap.above(0):
        compared = f"{points(gap.value)} more{gap.between(points)}"
    elif gap.below(0):
        compared = f"{points(-gap.value)} fewer than this one{gap.between(points)}"
    else:
        compared = f"which of the two is better is not certain{gap.between(points)}"
    return f"Joint training on old and new images names {WHOLE(joint.value)} of the old ones right, {compared}."


def _new(values: Values) -> str:
    new, joint = _of(values, "top1_new"), _of(values, "top1_new_joint")
    if math.isnan(new.value):
        return ""
    other = "" if math.isnan(joint.value) else f", joint training {WHOLE(joint.value)}"
    return f"Of the new images it names {WHOLE(new.value)} right{other}."


def notes(found: Findings) -> list[str]:
    """What the numbers are of, and what their intervals are."""
    classes = found.old.forgetting.over_classes
    lines = [
        "forgotten = confused + lost, exactly: right before less right among all classes is what only a new class "
        "stands before, and what is wrong among old classes too, less what became right there.",
        "Intervals: 95 %, over images and paired by them (Newcombe's; of shares Wilson's), as the old classes are all "
        f"there. Of other classes of the kind {classes.told(points)} would be forgotten, by leaving out each class in "
        "turn. None is of trainings.",
    ]
    if found.new is not None:
        lines.append(f"New images: the {found.split} split, without those of old classes.")
    if found.split == "train":
        lines.append("There are no other new images than those it trained on: their share flatters.")
    return lines
