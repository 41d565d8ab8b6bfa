"""What `distraction` finds: where the models look on composites, per class and over the lingering classes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from transferkit.analysis import AnalysisSession, Composites, Memories, matching_outputs, memories
from transferkit.data import key
from transferkit.errors import InputError
from transferkit.report import attempt
from transferkit.statistics import Estimate
from transferkit_distraction.classes import (
    Measured,
    Occlusion,
    SourceClass,
    between_groups,
    class_mean,
    mean,
    occlusion_over,
    p_value,
    sign_test,
)
from transferkit_distraction.looking import Seen, look, unrelated
from transferkit_distraction.options import Options
from transferkit_distraction.overlap import chance
from transferkit_distraction.views import Part, Viewer

AT_LEAST = 10  # lingering classes
SURE = 5  # of them that make an average without others


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything measured. Estimates are over `ours`, with Student's intervals over classes."""

    memories: Memories
    composites: Composites
    viewers: dict[str, Viewer]
    classes: list[SourceClass]
    ours: list[SourceClass]
    """The lingering classes; where fewer than five are certain, all that linger by Eq. 3."""
    target: Measured
    """Means over these."""
    baseline: Measured
    pairs: list[SourceClass]
    """Those with a value for M^t and for M^b."""
    empty_source: float
    """The share of M^s's maps that are zero everywhere."""
    target_mean: Estimate
    baseline_mean: Estimate
    difference: Estimate
    """Target minus baseline, over the pairs."""
    excess: Estimate
    """Mean of `SourceClass.excess` over the pairs."""
    above_unrelated: Estimate
    """Of M^t's distraction minus what it shares with unrelated pictures."""
    above_shared: Estimate
    """Of M^t's distraction by these classes minus by those shared with the target."""
    flips: Estimate
    """Of the answers of M^t that the background changes minus those of M^b."""
    p_value: float
    """Of `difference`."""
    p_sign: float
    """Of as many pairs above the diagonal."""
    chance: float
    """The overlap of two independent masks."""
    occlusion: Occlusion
    gaps: list[str]

    def of(self, state: str) -> list[SourceClass]:
        """The classes of a state."""
        return [one for one in self.classes if one.state == state]

    @property
    def above_diagonal(self) -> float:
        """In how many pairs M^t is distracted more than M^b; NaN without pairs."""
        return float(sum(one.difference > 0 for one in self.pairs)) if self.pairs else math.nan

    @property
    def names(self) -> list[str]:
        """The target classes."""
        return self.viewers["target"].model.classes


def measure(session: AnalysisSession, options: Options) -> Findings:
    """Composites of the chosen classes, seen by all models. Raises InputError where Eq. 4 cannot be computed at all."""
    if not session.has("source"):
        raise InputError(
            "distraction compares where a model looks with where the source model does, and this analysis has no "
            "source model; name it"
        )
    known = memories(session)
    chosen = choose(known.images.tolist(), known.min_images, known.lingering.tolist(), options.classes, session.seed)
    composites = session.composites(chosen, pool=_pool(session), scale=options.scale, total=options.composites)
    gaps: list[str] = []
    viewers = _viewers(session, options, gaps)
    classes = _classes(known, viewers, _look(session, options, composites, viewers, chosen), options)
    ours = counted(classes)
    pairs = [one for one in ours if math.isfinite(one.difference)]
    differences = [one.difference for one in pairs]
    covered = float(np.mean([item.height * item.width for item in composites.items]))
    occlusion = occlusion_over(ours)
    gaps += _gaps(viewers, known, ours, tried=bool(occlusion.tried))
    shared = [one.target.distraction for one in classes if one.state == "shared"]
    return Findings(
        memories=known,
        composites=composites,
        viewers=viewers,
        classes=classes,
        ours=ours,
        target=Measured.over([one.target for one in ours]),
        baseline=Measured.over([one.baseline for one in ours]),
        pairs=pairs,
        empty_source=mean([one.empty_source for one in ours]),
        target_mean=class_mean([one.target.distraction for one in ours], 0),
        baseline_mean=class_mean([one.baseline.distraction for one in ours], 0),
        difference=class_mean(differences),
        excess=class_mean([one.excess for one in pairs], -2, 2),
        above_unrelated=class_mean([one.target.distraction - one.target.unrelated for one in ours]),
        above_shared=between_groups([one.target.distraction for one in ours], shared),
        flips=class_mean([one.target.flip_rate - one.baseline.flip_rate for one in ours]),
        p_value=p_value(differences),
        p_sign=sign_test(differences),
        chance=chance(options.percentile, options.scope, covered / math.prod(viewers["target"].canvas)),
        occlusion=occlusion,
        gaps=gaps,
    )


def counted(classes: Sequence[SourceClass]) -> list[SourceClass]:
    """The lingering classes; where fewer than five are certain, all that linger by their mean, uncertain ones too."""
    certain = [one for one in classes if one.state == "lingering"]
    return certain if len(certain) >= SURE else [one for one in classes if one.remembered]


def in_order(classes: Sequence[int], seed: int) -> list[int]:
    """The classes in an order that depends on the seed and their own numbers alone."""
    return sorted(classes, key=lambda number: (key(seed, "distraction", int(number)), number))


def choose(images: Sequence[int], min_images: int, lingering: Collection[int], wanted: int, seed: int) -> list[int]:
    """The first `wanted` classes of the keyed order, and further lingering ones until ten of them are among these.

    `images` (K,) per class: those with `min_images` come first, because of others too little is known to call them
    lingering or forgotten. The first part does not know what lingers, so an audit with other thresholds finds its
    results in the cache, and classes that do not linger come along as the control. With `wanted` below ten, so many
    lingering ones are enough.
    """
    ordered = in_order([number for number, count in enumerate(images) if count], seed)
    ordered.sort(key=lambda number: images[number] < min_images)
    chosen, rest = ordered[:wanted], ordered[wanted:]
    found = set(lingering)
    missing = min(AT_LEAST, wanted) - sum(number in found for number in chosen)
    return chosen + [number for number in rest if number in found][: max(missing, 0)]


def _pool(session: AnalysisSession) -> list[int]:
    """The overlays that M^t knows: on others, a wrong answer would not be the background's fault."""
    seen = session.predictions("target", "target", session.overlay_split())
    right = torch.nonzero(seen.predicted() == seen.labels).flatten()
    if not len(right):
        raise InputError(
            f"the target model is wrong on all {len(seen.labels)} {session.overlay_split()} images of its own task, so "
            "there is none to paste whose answer a background could change"
        )
    return [int(index) for index in right]


def _viewers(session: AnalysisSession, options: Options, gaps: list[str]) -> dict[str, Viewer]:
    classes = session.model("target").classes
    found = {
        "source": Viewer(session, "source", options),
        "target": Viewer(session, "target", options, list(range(len(classes)))),
    }
    if not session.has("baseline"):
        gaps.append(
            "There is no baseline (the same task trained from scratch), so whether a model without memories would look "
            "at the same places is not known."
        )
        return found

    def baseline() -> Viewer:
        return Viewer(session, "baseline", options, matching_outputs(classes, session.model("baseline").classes))

    viewer = attempt(gaps, "The baseline could not be compared", baseline)
    return found if viewer is None else found | {"baseline": viewer}


def _look(
    session: AnalysisSession, options: Options, composites: Composites, viewers: dict[str, Viewer], chosen: list[int]
) -> list[Seen]:
    """All models on the composites of every chosen class."""
    indices: dict[int, list[int]] = {number: [] for number in chosen}
    for index, item in enumerate(composites.items):
        indices[item.source_class].append(index)
    passes, found = sum(viewer.passes for viewer in viewers.values()), []
    with session.progress(passes * len(composites), "looking at composites") as bar:
        for number, own in indices.items():
            part = Part(number, composites, own)
            found.append(look(viewers, part, options, bar))
            part.forget()
    return found


def _classes(known: Memories, viewers: dict[str, Viewer], every: list[Seen], options: Options) -> list[SourceClass]:
    """The numbers of every class."""
    canvas, found = viewers["target"].canvas, []
    by_chance = [unrelated(every, role, canvas, options) for role in ("target", "baseline")]
    for seen, target, baseline in zip(every, *by_chance, strict=True):
        number = seen.part.number
        found.append(
            SourceClass(
                number=number,
                name=known.names[number],
                state=known.state[number],
                remembered=number in known.lingering,
                images=int(known.images[number]),
                seen=seen,
                target=Measured.of(seen, "target", target),
                baseline=Measured.of(seen, "baseline", baseline),
            )
        )
    return found


def _gaps(viewers: dict[str, Viewer], known: Memories, ours: list[SourceClass], *, tried: bool) -> list[str]:
    """What the images and models at hand cannot show."""
    found = [
        f"The maps of the {role} model have a single cell, which says nothing about places; look at another layer "
        "(layer=…) or at larger pictures."
        for role, viewer in viewers.items()
        if viewer.maps.grid == (1, 1)
    ]
    if uncertain := sum(one.state == "uncertain" for one in ours):
        found.append(
            f"Only {len(ours) - uncertain} source classes are certain to linger, so {uncertain} uncertain ones were "
            f"taken along that do by their mean probability (fewer than {known.min_images} images, or an interval on "
            "both sides of the threshold); whether what they show is a memory is not certain."
        )
    if not ours:
        found.append(
            "No source class with images lingers, so the numbers of equation 4 are empty; what the table shows are the "
            "other classes."
        )
    elif not tried:
        found.append(
            "Nothing could be occluded: the fine-tuned model is right on every composite of a lingering class whose "
            "background the source model looks at."
        )
    return found
