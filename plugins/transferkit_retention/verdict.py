"""Retention in sentences: up to three for a reader who knows no paper, and the small print."""

from __future__ import annotations

import math
from functools import partial

from transferkit.analysis import AnalysisSession
from transferkit.report import percent, points
from transferkit_retention.batchnorm import batch_norms
from transferkit_retention.measure import SHOWN, SOURCE_ONLY, Findings, chance, halves, images_per_class
from transferkit_retention.options import Options

WHOLE = partial(percent, digits=0)


def verdict(found: Findings) -> str:
    """What is left, between which bounds, and where most was lost."""
    whole = found.overall
    if not whole.images:
        return "There are no source images, so nothing can be said about what is left of the source classes."
    named = f"With the source's head, the fine-tuned model still names {percent(whole.swap.value)} of {whole.images}"
    if math.isnan(whole.source.value):
        return (
            f"{named} source images. How many the source model itself names is unknown, so is the share that was kept."
        )
    text = f"{named} source images; the source model names {percent(whole.source.value)}."
    if math.isnan(whole.ratio.value):
        return text
    text += f" So {WHOLE(whole.ratio.value)} of its right answers are left{whole.ratio.between(WHOLE)}"
    if whole.ratio.known and not whole.ratio.above(chance(found)):
        text += f", not certainly more than the {WHOLE(chance(found))} of answers at random"
    text += "."
    if math.isnan(found.gap.value):
        return text
    shown, hidden = (found.groups[name].ratio for name in (SHOWN, SOURCE_ONLY))
    parts = f"{shown.told(WHOLE)} is left, of those they hardly show "
    parts += f"{hidden.told(WHOLE)}"
    text += f" Of the classes that the target images show {parts}"
    if not found.gap.known:
        return f"{text}; too few classes to say which lost more."
    gap = found.gap.told(points, words="95 % interval ")
    if found.gap.above(0) or found.gap.below(0):
        return f"{text}: {'more' if found.gap.above(0) else 'less'} is left of the ones that are shown, {gap}."
    return f"{text}: which lost more is not certain, {gap}."


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """Counts, chance level, what the intervals are, batch norm, preprocessing, where the head is from."""
    overall, classes = found.overall, len(found.names)
    kept = "" if math.isnan(chance(found)) else f", of relative retention {chance(found):.3g}"
    lines = [
        f"{overall.images} source images of {overall.classes} of {classes} source classes; chance level of top-1: "
        f"{1 / classes:.3g}{kept}. A prediction is one of all {classes} classes.",
        f"Intervals: 95 %, over the {overall.classes} classes, because images of one class are right or wrong "
        "together: Wilson's with Student's t for shares, leaving out each class in turn for ratios; of the gap between "
        "two groups of classes by both intervals (Zou and Donner).",
        _batch_norm(session, options),
    ]
    few = int(((found.total > 0) & (found.total < 5)).sum())
    if few:
        lines.append(f"{few} classes have fewer than 5 source images: their own recall is a coarse guess.")
    if overall.images:
        before, after = halves(found)
        was = "" if math.isnan(before.value) else f" ({before.told(WHOLE)} by the source model)"
        lines.append(
            f"A recall of half or more have {after.told(WHOLE)} of the classes with images"
            f"{was}, of which the median has {images_per_class(found):g}: of one image a recall is 0 or 1, so this "
            "share and the histogram depend on how many there are."
        )
    lines.append(
        "relative_retention is of right answers, over all classes; probability_left of the analysis lingering is of "
        "mean probabilities, over source-only classes."
    )
    lines.append(f"A class is common when more than {100 * options.common:g} % of the target images show it.")
    if session.has("source") and session.model("source").preprocessing != session.model("target").preprocessing:
        lines.append("The two models take differently preprocessed images; each got its own.")
    if session.source_head_is_probe:
        lines.append("The source model has no classifier; a ridge regression on its features stands in for it.")
    return lines


def _batch_norm(session: AnalysisSession, options: Options) -> str:
    norms = len(batch_norms(session.model("target")))
    if not norms:
        return "The backbone has no batch normalisation, so the option bn changes nothing."
    whose = {
        "target": "the fine-tuned model's own",
        "source": "the source model's",
        "recalibrated": f"estimated on up to {options.bn_images} of the source images themselves",
    }
    return f"Running statistics of the {norms} batch norms: {whose[options.bn]} (bn: {options.bn})."
