"""Spurious inputs in sentences: up to three for a reader who knows no paper, and the small print."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from transferkit.analysis import AnalysisSession
from transferkit.report import count, listing, number
from transferkit.statistics import Estimate
from transferkit_spurious.findings import Findings
from transferkit_spurious.options import Options

SHORT = partial(number, digits=3)
TELLING = ("shift", "scale", "correlate")
"""The interventions on tables that can tell: permuting columns that do not matter changes nothing in law."""
BUILT_IN = (
    "Where the target ignores columns that are independent of all others, putting them in another order of the rows "
    "(permute, or a table with them restored) changes nothing in law: that it hardly matters to a model is built in "
    "and says nothing about transfer. Shift, scale and correlate leave the law of the training data, and can tell."
)


def verdict(options: Options, found: Findings) -> str:
    """What moves the answers, and whether that is more than without transfer."""
    if found.patches:
        patches = found.patches["target"]
        row, column = patches.most
        text = (
            f"Of {patches.moved.size} patches, hiding the one in row {row + 1}, column {column + 1} moved the target "
            f"model's answers most on half of {found.units} images; on the other half the label's probability moves "
            f"by {_told(patches.effect.moved)} and the loss by {_told(patches.effect.change)}."
        )
    else:
        (first, end), effect = options.blocks[options.suspect], found.effects["target", options.suspect, "shift"]
        base = found.effects.get(("baseline", options.suspect, "shift"))
        text = (
            f"Shifting the columns {first} to {end - 1} ({options.suspect}) by one s.d. moves the target model's "
            f"answer by {_told(effect.moved)} s.d. of the output and changes its loss of "
            f"{SHORT(found.loss['target'].value)} by {_told(effect.change)}"
        )
        text += "." if base is None else f"; the baseline's answer moves by {_told(base.moved)}."
    for model in dict.fromkeys(model for model, _ in found.excess):
        gaps = {how: gap for (name, how), gap in found.excess.items() if name == model}
        text += f" {_against(gaps if found.patches else {how: gaps[how] for how in TELLING}, model)}"
    return text + _by_lime(options, found)


def _against(gaps: Mapping[str, Estimate], model: str) -> str:
    """Whether a model answers more to the intervention than the baseline does, over all interventions that tell."""
    shown = ", ".join(f"{how} {'+' if gap.value > 0 else ''}{_told(gap)}" for how, gap in gaps.items())
    if not all(gap.known for gap in gaps.values()):
        return f"Against the baseline, {model} moves by {shown}."
    more, less = ([how for how, gap in gaps.items() if side(gap)] for side in (_more, _less))
    if len(more) == len(gaps):
        return f"Of these two trainings, {model} answers to it more than the baseline (minus baseline: {shown})."
    if len(less) == len(gaps):
        return f"Of these two trainings, {model} answers to it less than the baseline (minus baseline: {shown})."
    if more and less:
        told = f"{model} answers more than the baseline to {listing(more)} and less to {listing(less)}"
        return f"Of these two trainings, {told} (minus baseline: {shown})."
    most = SHORT(max(gap.high for gap in gaps.values()))
    return (
        f"Whether {model} answers to it more than the baseline is not certain: the excess may be as large as {most} "
        f"(minus baseline: {shown})."
    )


def _more(gap: Estimate) -> bool:
    return gap.above(0)


def _less(gap: Estimate) -> bool:
    return gap.below(0)


def _by_lime(options: Options, found: Findings) -> str:
    """Whether a local linear model finds the suspect columns at all, which absolute values alone do not tell."""
    if found.lime is None:
        return ""
    key = "target", options.suspect
    impact, floor, beyond = found.lime.by_block[key], found.lime.floor[key], found.lime.beyond[key]
    if not beyond.known:
        return ""
    sure = "above" if beyond.above(0) else "not surely above"
    return (
        f" By LIME a suspect column has an impact of {_told(impact)}, {sure} the {SHORT(floor.value)} that noise alone "
        f"gives (by {_told(beyond)})."
    )


def _told(found: Estimate) -> str:
    """0.21 (0.20 to 0.22)."""
    return found.told(SHORT)


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """Counts, what the intervals are, what the words mean, and who the models are."""
    who = [f"{one.name}: {session.describe(one.role)}." for one in found.models if one.role != "stage"]
    if found.patches:
        return [
            f"{found.units} images of {count(found.classes, 'class')} of the split {found.split}; intervals: 95 %, "
            "over classes, whose images are not independent (each class left out in turn, Student's t): few classes "
            "make them wide, and one alone has none. They are not over trainings: repeat for those.",
            "Every other image chose the patch of the sentence above, and the rest measured it: the largest of many "
            "means is too large on the images that chose it, as is every one in the table.",
            "Occluded is the mean colour of the preprocessing; shift adds its standard deviation; permute shows what "
            "another image has there. Moved: |change of the label's probability|. Any of these makes images that the "
            "model was not trained on, and a patch that matters need not be spurious: look at the pictures.",
            *who,
        ]
    lines = [
        BUILT_IN,
        f"{found.units} rows of the split {found.split}; intervals: 95 %, over rows (Student's t), and of the rows' "
        "own differences where models are compared. They are not over trainings: repeat for those.",
        "Change: of the squared error. Moved: |changed answer - answer|, in units of the standardised output. Shift is "
        "by one s.d. of the training column, scale twice as far from its mean, occlude its mean, correlate the "
        "standardised output in its place, so that it gives the answer away.",
        *who,
    ]
    if found.own_rows.get("source") not in (None, found.own_rows["target"]):
        lines.append(f'The source model was given rows of "{found.own_rows["source"]}", the others the target\'s.')
    if options.instances:
        lines.append(
            f"LIME: {options.instances} rows, {options.samples} perturbed rows each, the same for every model; impact "
            "is |coefficient x s.d. of the column|, intervals are over the explained rows. Absolute values never "
            "average to 0: the floor is what they would average to if the column did nothing, from the difference of "
            "fits to two halves of the perturbed rows. It also holds what a bent answer makes of a straight fit, and "
            "models differ in it: part of a difference between two models' impacts is that of their floors."
        )
    return lines
