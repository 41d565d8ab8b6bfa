"""The small print: counts, thresholds, seeds, chance levels, models and the grids of their maps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from transferkit_distraction.wording import between, mean, percent_of, value

if TYPE_CHECKING:
    from transferkit_distraction.study import Study
    from transferkit_distraction.summary import Summary


def notes(study: Study, summary: Summary) -> list[str]:
    """Counts, thresholds, seeds, chance levels, models and the grids of their maps."""
    return [
        *_design(study, summary),
        *_levels(study, summary),
        *_occlusion(summary),
        *(_model(study, role) for role in study.viewers),
        *_finer(study),
        "Gallery, from left to right: the input with the pasted image outlined, then where the source model sees the "
        "background's class, where the fine-tuned model and where the baseline (if there is one) see the target class; "
        "each map is brightest at its own maximum.",
    ]


def _design(study: Study, summary: Summary) -> Iterator[str]:
    options, memories = study.options, study.memories
    states = {state: len(summary.of(state)) for state in ("lingering", "shared", "source_only")}
    uncertain = sum(memories.state[row.number] == "uncertain" for row in summary.of("lingering"))
    yield (
        f"{len(study.composites)} composites of {len(summary.rows)} source classes ({states['lingering']} lingering, "
        f"{states['shared']} shared, {states['source_only']} source-only but forgotten), seed {study.session.seed}; a "
        f"target image of {options.scale:g} of the picture's side is pasted at a random place. The pasted images are "
        "those that the fine-tuned model gets right on their own."
    )
    if uncertain:
        yield (
            f"{uncertain} of the lingering classes have fewer than {memories.min_images} source images: their "
            "backgrounds are few, and each is used several times."
        )
    kind = "of the map with the pasted part set to zero" if options.scope == "zeroed" else "of the background alone"
    which = "the pasted image's class" if options.target_class == "overlay" else "the predicted class"
    yield (
        f"A model looks where its map ({options.method}, {options.of} of {which}) is above percentile "
        f"{options.percentile:g} {kind}; distraction is intersection over union with the source model's map of the "
        "background's class, averaged per class and then over the lingering classes. Intervals: 95 %, bootstrap over "
        "classes."
    )


def _levels(study: Study, summary: Summary) -> Iterator[str]:
    metrics = summary.metrics
    text = f"Chance: two independent masks of that size overlap by {metrics['chance']:.3f}"
    if not math.isnan(metrics["unrelated_target"]):
        others = "; with the source model's map of another class's picture, the overlay at about the same place, the "
        others += "fine-tuned model's overlaps by "
        text += f"{others}{metrics['unrelated_target']:.3f}"
        if not math.isnan(metrics["unrelated_baseline"]):
            text += f", the baseline's by {metrics['unrelated_baseline']:.3f}"
        text += " (all maps prefer the middle and avoid the overlay)"
    yield f"{text}."
    if not math.isnan(metrics["target_mean"]):
        yield f"Fine-tuned model, lingering classes: {value(metrics['target_mean'])}{between(summary.target_interval)}."
    if summary.pairs:
        p = metrics["p_value"]
        tested = "no pair of classes differs" if math.isnan(p) else f"paired Wilcoxon test over classes: p = {p:.2g}"
        yield (
            f"Baseline, lingering classes: {value(metrics['baseline_mean'])}{between(summary.baseline_interval)}; "
            f"{tested}."
        )
    shared = summary.of("shared")
    if shared and not math.isnan(metrics["shared_target_mean"]):
        found = value(metrics["shared_target_mean"])
        yield f"Control: on {len(shared)} classes shared with the target the fine-tuned model's is {found}."
    yield from _accuracy(summary)
    yield from _empty(summary)
    yield from _unmeasured(summary)


def _accuracy(summary: Summary) -> Iterator[str]:
    """A baseline that never learned the task is no measure of anything."""
    ours = summary.of("lingering")
    told = []
    for role in ("target", "baseline"):
        alone = mean([getattr(row, f"alone_{role}") for row in ours])
        if not math.isnan(alone):
            on = percent_of(summary.metrics[f"accuracy_{role}"])
            told.append(
                f"the {role} model {on} on composites and {percent_of(alone)} on the same overlays on one colour"
            )
    if told:
        yield f"Right answers: {', '.join(told)}."


def _empty(summary: Summary) -> Iterator[str]:
    """Frequent with two classes: all that a model sees may speak for the other one."""
    shares = {role: summary.metrics[f"empty_maps_{role}"] for role in ("target", "baseline", "source")}
    told = [f"{percent_of(share)} for the {role} model" for role, share in shares.items() if share > 0]
    if told:
        yield f"Maps that are zero everywhere: {', '.join(told)}. They overlap with nothing, which counts as 0."


def _unmeasured(summary: Summary) -> Iterator[str]:
    ours = summary.of("lingering")
    lost = [(sum(getattr(row, f"unmeasured_{role}") for row in ours), role) for role in ("target", "baseline")]
    for count, role in lost:
        if count:
            yield f"{count} composites have no value for the {role} model (both maps empty there) and are left out."


def _occlusion(summary: Summary) -> Iterator[str]:
    found = summary.occlusion
    if found.tried:
        low, high = found.difference
        apart = "" if math.isnan(low) else f"; difference {100 * low:+.0f} to {100 * high:+.0f} points (95 % interval)"
        same = percent_of(found.shared)
        yield (
            f"Occlusion: of {found.wrong} wrong composites of lingering classes {found.tried} have a background that "
            f"the source model looks at. Hidden behind the mean colour, {found.recovered} become right; with the same "
            f"mask moved elsewhere (equal area, {same} of it the same pixels) {found.control}{apart}."
        )


def _model(study: Study, role: str) -> str:
    viewer = study.viewers[role]
    height, width = viewer.maps.grid
    kind = "in closed form" if viewer.maps.closed_form else "by gradient"
    return (
        f"The {role} model is {study.session.describe(role)}; its maps have {height} x {width} cells, taken {kind} at "
        f"{viewer.maps.layer}."
    )


def _finer(study: Study) -> Iterator[str]:
    if "baseline" not in study.viewers:
        return
    target, baseline = (study.viewers[role] for role in ("target", "baseline"))
    if baseline.maps.grid != target.maps.grid or baseline.model.architecture != target.model.architecture:
        yield (
            "The baseline is another architecture or has maps of another grid, which changes how far maps overlap by "
            "chance; the cleanest baseline is the target's own architecture trained from scratch."
        )
