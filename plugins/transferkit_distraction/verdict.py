"""Distraction in sentences: up to three for a reader who knows no paper, and the small print."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from transferkit.analysis import AnalysisSession
from transferkit.report import hundredths
from transferkit.statistics import Estimate
from transferkit_distraction.classes import full, mean
from transferkit_distraction.measure import Findings
from transferkit_distraction.options import Options

NAMED = "95 % interval "


def percent_of(share: float) -> str:
    """A share as whole per cents, or a dash."""
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"


def value(number: float) -> str:
    """Two decimals, or a dash."""
    return "–" if math.isnan(number) else f"{number:.2f}"


def apart(difference: Estimate) -> str:
    """A difference of shares with its interval."""
    return difference.told("{:+.2f}".format, words=NAMED)


def in_points(difference: Estimate) -> str:
    """The same in points."""
    return difference.told(partial(hundredths, form="+.0f"), " points", NAMED)


def verdict(found: Findings) -> str:
    """One to three sentences for a reader who knows no paper."""
    if not found.ours:
        text = (
            "None of the source classes with images lingers in the fine-tuned model, so no memory of them could "
            "distract it."
        )
        shared = found.of("shared")
        overlap = mean([one.target.distraction for one in shared])
        if math.isnan(overlap):
            return text
        return f"{text} On {len(shared)} source classes that it shares with the target the overlap is {value(overlap)}."
    if math.isnan(found.target_mean.value):
        return "On no composite do the maps say anything, so whether the fine-tuned model is distracted is unknown."
    compared = _against_baseline(found) if found.pairs else _against_chance(found)
    occlusion = found.occlusion
    text = f"{compared} The background changes its answer in {percent_of(found.target.flip_rate)} of the composites"
    if not math.isnan(found.baseline.flip_rate):
        text += f" (baseline: {percent_of(found.baseline.flip_rate)}; difference {in_points(found.flips)})"
    if not occlusion.tried:
        return f"{text}."
    return (
        f"{text}; hiding what the source model sees puts {percent_of(occlusion.recovered)} of {occlusion.tried} wrong "
        f"answers right, hiding as much elsewhere {percent_of(occlusion.recovered_control)} (difference "
        f"{in_points(occlusion.difference)})."
    )


def _against_baseline(found: Findings) -> str:
    """Over the pairs; and how much of the difference stays when what both share with other pictures is taken off."""
    pairs, difference, excess = found.pairs, found.difference, found.excess
    target, baseline = (
        mean([one.target.distraction for one in pairs]),
        mean([one.baseline.distraction for one in pairs]),
    )
    numbers = f"overlap {value(target)} against {value(baseline)}, difference {apart(difference)}"
    sign = "" if math.isnan(found.p_sign) else f" (sign test: p = {found.p_sign:.2g})"
    classes = f"{found.above_diagonal:.0f} of {len(pairs)} lingering classes{sign}"
    looks = "at what the source model sees outside the pasted image"
    if difference.below(0):
        return (
            f"The fine-tuned model is not distracted more than the baseline but less: in only {classes} it looks more "
            f"{looks} ({numbers})."
        )
    if not difference.above(0):
        return (
            f"Whether the fine-tuned model is distracted more than the baseline is not certain: in {classes} it looks "
            f"more {looks} ({numbers})."
        )
    text = f"In {classes} the fine-tuned model looks more than the baseline {looks} ({numbers})."
    if not excess.known:
        return text
    target, baseline = mean([one.target.unrelated for one in pairs]), mean([one.baseline.unrelated for one in pairs])
    text += f" With its view of other pictures instead, the overlaps are {value(target)} and {value(baseline)}: "
    part = apart(excess)
    if excess.above(0):
        return f"{text}{part} of the difference comes from what the picture shows."
    return f"{text}whether any of the difference ({part}) comes from what the picture shows is not certain."


def _against_chance(found: Findings) -> str:
    overlap, by_chance, above = found.target_mean, found.target.unrelated, found.above_unrelated
    numbers = (
        f"overlap {value(overlap.value)} against {value(by_chance)} with its view of other pictures, difference "
        f"{apart(above)}"
    )
    more = "more" if above.above(0) else "less" if above.below(0) else "not certainly more or less"
    return (
        f"On {overlap.n} lingering classes the fine-tuned model looks {more} than by chance at what the "
        f"source model sees outside the pasted image ({numbers}); there is no baseline to compare it with."
    )


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """Counts, thresholds, seeds, chance levels, occlusion, models and the grids of their maps."""
    return [
        *_design(session, options, found),
        *_levels(found),
        *_models(session, found),
        "Gallery, from left to right: the input with the pasted image outlined, then where the source model sees the "
        "background's class, where the fine-tuned model and where the baseline (if there is one) see the target class; "
        f"each map is brightest at its own maximum. Chosen by wrong answers and a draw, not by distraction, and in the "
        f"order of distraction minus the baseline's; {_empty(found)} composites with an empty map are left out.",
    ]


def _empty(found: Findings) -> str:
    every = found.ours or found.classes
    total = sum(len(one.seen.part.indices) for one in every)
    return f"{total - sum(len(full(one)) for one in every)} of {total}"


def _design(session: AnalysisSession, options: Options, found: Findings) -> Iterator[str]:
    memories = found.memories
    states = {"lingering": "lingering", "shared": "shared", "source_only": "forgotten", "uncertain": "uncertain"}
    of_each = ", ".join(f"{len(found.of(state))} {name}" for state, name in states.items() if found.of(state))
    yield (
        f"{len(found.composites)} composites of {len(found.classes)} source classes ({of_each}), seed {session.seed}; "
        f"classes of at least {memories.min_images} images come first; a target image of "
        f"{options.scale:g} of the picture's side is pasted at a random place. The pasted images are those that the "
        "fine-tuned model gets right on their own."
    )
    few = sum(one.images < memories.min_images for one in found.ours)
    if few:
        yield (
            f"{few} of the {len(found.ours)} classes averaged have fewer than {memories.min_images} source images: "
            "their backgrounds are few, and each is used several times."
        )
    kind = "of the map with the pasted part set to zero" if options.scope == "zeroed" else "of the background alone"
    which = "the pasted image's class" if options.target_class == "overlay" else "the predicted class"
    yield (
        f"A model looks where its map ({options.method}, {options.of} of {which}) is above percentile "
        f"{options.percentile:g} {kind}; distraction is intersection over union with the source model's map of the "
        "background's class, averaged per class and then over the lingering classes. Intervals: 95 %, "
        "Student's over classes, paired where both models saw them; of answers put right whole classes are left out in "
        "turn. They say what other classes would give."
    )


def _levels(found: Findings) -> Iterator[str]:
    """What chance gives, and what the models do, on lingering classes where nothing else is said."""
    models = {"target": found.target, "baseline": found.baseline}
    text = f"Chance: two independent masks of that size overlap by {found.chance:.3f}"
    if not math.isnan(found.target.unrelated):
        text += "; with the source model's map of another class's picture, the overlay at about the same place, the "
        text += f"fine-tuned model's overlaps by {found.target.unrelated:.3f}"
        if not math.isnan(found.baseline.unrelated):
            text += f", the baseline's by {found.baseline.unrelated:.3f}"
        text += " (all maps prefer the middle and avoid the overlay)"
    yield f"{text}."
    target, baseline = (one.told(value, words=NAMED) for one in (found.target_mean, found.baseline_mean))
    if not math.isnan(found.target_mean.value):
        yield f"Fine-tuned model, lingering classes: {target}."
    if found.pairs:
        p = found.p_value
        tested = "no pair of classes differs" if math.isnan(p) else f"paired t test over classes: p = {p:.2g}"
        yield f"Baseline, lingering classes: {baseline}; {tested}."
    shared = [one.target.distraction for one in found.of("shared")]
    if not math.isnan(mean(shared)):
        yield (
            f"Control: on {len(shared)} classes shared with the target the fine-tuned model's is "
            f"{value(mean(shared))}, lingering minus shared {apart(found.above_shared)}."
        )
    right = [  # a baseline that never learned the task is no measure of anything
        f"the {role} model {percent_of(one.accuracy)} on composites and {percent_of(one.alone)} on the same overlays "
        "on one colour"
        for role, one in models.items()
        if not math.isnan(one.alone)
    ]
    if right:
        yield f"Right answers: {', '.join(right)}."
    shares = {role: one.empty for role, one in models.items()} | {"source": found.empty_source}
    empty = [f"{percent_of(share)} for the {role} model" for role, share in shares.items() if share > 0]
    if empty:  # frequent with two classes: all that a model sees may speak for the other one
        yield f"Maps that are zero everywhere: {', '.join(empty)}. They overlap with nothing, which counts as 0."
    for role, one in models.items():
        if one.unmeasured:
            yield (
                f"{one.unmeasured} composites have no value for the {role} model (both maps empty there) and are left "
                "out."
            )
    occlusion = found.occlusion
    if occlusion.tried:
        same = percent_of(occlusion.shared)
        yield (
            f"Occlusion: of {occlusion.wrong} wrong composites of lingering classes {occlusion.tried} have a "
            f"background that the source model looks at. Hidden behind the mean colour, {occlusion.right} become "
            f"right; with the same mask moved elsewhere (equal area, {same} of it the same pixels) "
            f"{occlusion.right_elsewhere}; difference {in_points(occlusion.difference)}."
        )


def _models(session: AnalysisSession, found: Findings) -> Iterator[str]:
    for role, viewer in found.viewers.items():
        height, width = viewer.maps.grid
        kind = "in closed form" if viewer.maps.closed_form else "by gradient"
        yield (
            f"The {role} model is {session.describe(role)}; its maps have {height} x {width} cells, taken {kind} at "
            f"{viewer.maps.layer}."
        )
    target, baseline = found.viewers["target"], found.viewers.get("baseline", found.viewers["target"])
    if baseline.maps.grid != target.maps.grid or baseline.model.architecture != target.model.architecture:
        yield (
            "The baseline is another architecture or has maps of another grid, which changes how far maps overlap by "
            "chance; the cleanest baseline is the target's own architecture trained from scratch."
        )
