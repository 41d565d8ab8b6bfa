"""What `confusion` finds: backgrounds and overlays chosen, composites made, and what each model answered."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.analysis import (
    AnalysisSession,
    Composites,
    MemoryThresholds,
    Predictions,
    answer_counts,
    matching_outputs,
    memories,
)
from transferkit.errors import InputError
from transferkit.report import attempt
from transferkit.statistics import Estimate
from transferkit_confusion.making import Maker, ask, first_places
from transferkit_confusion.options import Options
from transferkit_confusion.picks import bounds, halves, pick_backgrounds, pick_overlays, within
from transferkit_confusion.trial import Trial, contrasts, weak_groups

COMMON = 0.01  # share of the target images for which a class is the source model's first guess


@dataclass(frozen=True)
class Findings:
    """The trial, and how much more often each model is right with the background's bias than against it."""

    trial: Trial
    contrasts: dict[str, Estimate]
    """Per role, and the `difference` of two."""
    choices: list[str]
    """What the backgrounds were chosen from, in sentences."""
    gaps: list[str]


def measure(session: AnalysisSession, options: Options) -> Findings:
    """Choose, make, and ask the models. Raises InputError where there are too few images or classes."""
    gaps: list[str] = []
    choices: list[str] = []
    models, classes = _models(session, gaps), list(session.model("target").classes)
    if len(classes) < 2:
        raise InputError("the target model has one class only, so no background can lead it to another")
    sureness = {role: _sureness(session, role, order) for role, order in models.items()}
    overlays = session.overlays()
    chosen = pick_overlays(np.stack(list(sureness.values())), overlays.labels, overlays.ids, options.overlays)
    gaps += [f"There is no image of {name} to paste." for j, name in enumerate(classes) if j not in chosen]
    votes = session.predictions("target", "source")
    labels = votes.labels.numpy()
    choosing, held = halves(labels, votes.ids, session.seed) if options.halves else (np.ones(len(labels), bool),) * 2
    counts = _votes(votes, models["target"], choosing)
    eligible = _eligible(session, options, labels, choices, gaps)
    with np.errstate(invalid="ignore"):
        shares, ends = counts / counts.sum(axis=1, keepdims=True), bounds(counts)
    picked = [
        one for j in chosen for one in pick_backgrounds(shares, eligible, j, options.backgrounds, options.neutral, ends)
    ]
    if not picked:
        raise InputError(
            f"backgrounds need at least three source classes with {_fewest(options)} images, and {len(eligible)} "
            "have them; give more source images, or a smaller min_images"
        )
    every = len(picked)
    picked, limit = within(picked, options.limit, options.most, session.seed)
    if len(picked) < every or limit < options.limit:
        text = (
            f"Left out: {every} pairs of background class and target class ({len(chosen)} target classes) with up to "
            f"{options.limit} composites each are {every * options.limit:,}, more than the {options.most:,} that "
            f"`most` allows, so at most {limit} of each pair were made"
        )
        choices.append(f"{text}, and only {len(picked)} pairs were tried." if len(picked) < every else f"{text}.")
        chosen = {target: chosen[target] for target in dict.fromkeys(one.target for one in picked)}
    members = {one.source: np.flatnonzero(labels == one.source) for one in picked}
    backgrounds, items = session.samples("source"), []
    maker = Maker(backgrounds, overlays, session.seed, math.sqrt(options.area), options.repeats, limit)
    for one in picked:
        images = members[one.source]
        items += maker.items(one.source, images[held[images]].tolist(), chosen[one.target])
    composites = Composites(backgrounds, overlays, items)
    plain = first_places(composites, options.repeats)
    trial = Trial(
        classes=classes,
        names=list(votes.classes),
        backgrounds=picked,
        overlays=chosen,
        sureness=sureness,
        composites=composites,
        plain=plain,
        choosing=counts.sum(axis=1),
        votes={role: _votes(session.predictions(role, "source"), order, held) for role, order in models.items()},
        eligible=eligible,
        limit=limit,
        halved=options.halves,
        answers={role: ask(session, role, order, composites, plain) for role, order in models.items()},
    )
    if options.save:
        composites.write(session.out / "composites")
    return Findings(trial, contrasts(trial), choices, gaps + weak_groups(trial))


def _models(session: AnalysisSession, gaps: list[str]) -> dict[str, list[int]]:
    """{role: where each target class is among the role's outputs}; a gap says why a model is not compared."""
    classes = list(session.model("target").classes)
    found = {"target": list(range(len(classes)))}
    if not session.has("baseline"):
        gaps.append("There is no baseline model, so nothing says how much of this is due to the pretraining.")
        return found
    own = session.model("baseline").classes
    order = attempt(gaps, "The baseline could not be compared", lambda: matching_outputs(classes, own))
    return found if order is None else found | {"baseline": order}


def _sureness(session: AnalysisSession, role: str, order: list[int]) -> NDArray[np.float64]:
    """(n,) the probability of the correct class on each image that could be an overlay."""
    found = session.predictions(role, "target", session.overlay_split())
    labels = torch.from_numpy(session.overlays().labels)
    parts = [
        logits[:, order].double().softmax(dim=1).gather(1, labels[part, None]).squeeze(1)
        for part, logits in found.chunks()
    ]
    return torch.cat(parts).numpy()


def _eligible(
    session: AnalysisSession, options: Options, labels: NDArray[np.int64], choices: list[str], gaps: list[str]
) -> list[int]:
    """Source classes with enough images, without those that the target images show."""
    enough = np.flatnonzero(np.bincount(labels, minlength=1) >= _fewest(options)).tolist()
    choices.append(f"{len(enough)} source classes have at least {_fewest(options)} images and could be backgrounds.")
    if not options.source_only:
        return enough
    why: list[str] = []
    # a rule of its own: with other thresholds of `lingering` the same pictures serve again
    known = attempt(
        why, "Backgrounds that show a target class themselves could not be left out",
        lambda: memories(session, MemoryThresholds(k=1, v_lo=COMMON)),
    )  # fmt: skip
    if known is None:
        gaps += [f"{text} Look at their names." for text in why]
        return enough
    found = sorted({*enough} & {*known.source_only.tolist()})
    if len(found) < 3:
        gaps.append(
            f"Only {len(found)} of these {len(enough)} source classes do not show in the target images, so backgrounds "
            "were taken from all of them: some may show a target class themselves."
        )
        return enough
    choices.append(
        f"{len(found)} of them are the source model's first guess for at most {COMMON:.0%} of the target images; only "
        "these were taken."
    )
    return found


def _fewest(options: Options) -> int:
    """Images that a background class must have: one of them chooses, another is held out."""
    return max(options.min_images, 2 if options.halves else 1)


def _votes(votes: Predictions, order: list[int], some: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(K_s, K_t) how many of those images a model takes for each target class, which is `order[j]` of its outputs."""
    predicted = torch.from_numpy(np.argsort(order))[votes.predicted()[some]]
    found = answer_counts(votes.labels[some], predicted, len(votes.classes), len(order), "confusion")
    return np.asarray(found.numpy())
