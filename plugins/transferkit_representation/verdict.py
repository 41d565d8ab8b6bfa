"""What happened to the layers, in up to three sentences for a reader who knows no paper, and the small print."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from transferkit.report import hundredths, percent
from transferkit_representation.measure import Findings, Probed

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.statistics import Estimate
    from transferkit_representation.options import Options

NAMED = 6  # layers that the verdict gives one by one


def verdict(found: Findings) -> str:
    """How alike the layers are, what linear probes still read, and how many dimensions are in use."""
    return " ".join(filter(None, [_similarity(found), _probes(found), _dimensions(found)]))


def _similarity(found: Findings) -> str:
    known = {} if found.similarity is None else found.similarity.diagonal
    known = {name: one for name, one in known.items() if math.isfinite(one.value)}
    if found.similarity is None or not known:
        return ""
    text = (
        f"On {found.compared} images of {found.main.data}, layers before and after this training have a CKA of "
        f"{_number(found.similarity.mean)} on average (1 is the same up to rotation and scale, 0 unrelated)"
    )
    shown = list(known.items()) if len(known) <= NAMED else list(known.items())[-1:]
    each = ", ".join(f"{name} {_number(one)}" for name, one in shown)
    return f"{text}: {each}." if len(known) > 1 else f"{text}."


def _probes(found: Findings) -> str:
    parts = [part for row in found.probes if row.layer == found.probes[-1].layer and (part := _of_data(row))]
    return f"A linear probe on the {found.probes[-1].layer} names {'; '.join(parts)}." if parts else ""


def _of_data(row: Probed) -> str:
    if math.isnan(row.after.value):
        return ""
    chance = f"chance {percent(row.chance)}"
    if row.after.known and not row.after.above(row.chance):
        chance += ", which it may well be" if not row.after.below(row.chance) else ", and it is below that"
    text = f"{_share(row.after)} of unseen {row.data.removesuffix(' images')} images"
    if math.isnan(row.before.value):
        return f"{text} ({chance})"
    text += f" after ({chance}), {_share(row.before)} before"
    if not row.change.known:
        return f"{text}, of too few classes to compare"
    inside = row.change.told(partial(hundredths, form="+.1f"), " points", brackets=True)
    if row.change.above(0) or row.change.below(0):
        return f"{text}: {'more' if row.change.above(0) else 'fewer'}, by {inside}"
    return f"{text}, which could not be told apart ({inside})"


def _dimensions(found: Findings) -> str:
    last = {row.model: row for row in found.ranks if row.layer == found.ranks[-1].layer}
    if "after" not in last or math.isnan(last["after"].participation):
        return ""
    after = last["after"]
    text = f"The {after.layer} spread over about {after.participation:.3g} of {after.d} dimensions"
    if "before" not in last or math.isnan(last["before"].participation):
        return f"{text} (participation ratio)."
    text += f" after and {last['before'].participation:.3g} before (participation ratio)"
    change = found.participation.get(after.layer)
    if change is None or not change.known:
        return f"{text}; how sure the difference is was not measured."
    inside = _number(change, " times")
    if change.above(1) or change.below(1):
        return f"{text}: {'more' if change.above(1) else 'fewer'} than before, {inside}."
    return f"{text}; the two could not be told apart ({inside})."


def _number(found: Estimate, unit: str = "") -> str:
    return found.told("{:.2f}".format, unit, brackets=True)


def _share(found: Estimate) -> str:
    return found.told(hundredths, " %", brackets=True)


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """Counts, estimator, thresholds, what the probes are, preprocessing."""
    main, passes = found.main, int(found.main.tensors["passes"])
    both = "; the same in the same order for both models, each with its own preprocessing" * ("source" in found.layers)
    lines = [
        f"{len(main.labels)} of {main.available} images of {main.data} ({main.split}), drawn by seed {session.seed}"
        f"{both}, without augmentation."
    ]
    if found.similarity is not None and options.estimator == "unbiased-minibatch":
        lines.append(
            f"CKA: linear, on whole outputs, unbiased HSIC averaged over batches of {options.batch_size} before the "
            f"ratio is taken; {found.compared} images in full batches. It may lie slightly outside 0..1."
        )
    elif found.similarity is not None:
        more = f" in {passes} passes" if passes > 1 else ""
        more += "; the biased one is above 0 for unrelated layers" if options.estimator == "biased" else ""
        lines.append(
            f"CKA: linear, on whole outputs, {options.estimator} HSIC of {found.compared} images at once{more}."
        )
    views = {
        "gap": "the mean over positions",
        "flatten": "all positions, averaged to at most 8192 values",
        "tokens": "every position as a row of its own (probes: answers averaged over positions)",
    }
    lines.append(
        f"Rank and probes look at {views[options.view]}. Numerical rank: singular values of the centred rows above "
        f"{options.tau:g} times the largest, at most min(n - 1, d). Participation ratio: (Σλ)²/Σλ² of the covariance."
    )
    if found.ranks and all(row.at_ceiling for row in found.ranks if row.rank is not None):
        lines.append(
            "The numerical rank is at its ceiling everywhere, so it says nothing here: see the participation ratio "
            "and the stable rank, which need no threshold."
        )
    if found.probes:
        lines.append(
            f"Probes: ridge regression on standardised features, {options.folds} folds; every answer is by a probe "
            "that has not seen the image, with a lambda of 1e-4 to 1e4 that the other folds chose. Chance: the most "
            "frequent class. Change: after less before, on the same images."
        )
    batches = ", of CKA by leaving out one batch of images" if "batches.cross" in main.tensors else ""
    lines.append(
        "Intervals are 95 %, of shares right and of the participation ratio by leaving out one class (of many classes, "
        f"a part of them) at a time, for images of a class are not independent{batches}; not over trainings. The other "
        "ranks, and CKA of all images at once, have none, so nothing is said of their differences. The report names "
        "layers as the model does: what a paper calls layer 2 is for you to name."
    )
    if main.planted:
        lines.append(f"The images of {main.data} carry a planted corruption.")
    return lines
