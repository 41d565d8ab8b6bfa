"""The measurements: choose classes, make composites, let the models look, compare where they look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import AnalysisSession, Composites, upsample
from transferkit.errors import InputError
from transferkit_distraction.choice import choose
from transferkit_distraction.occlusion import occluded
from transferkit_distraction.overlap import Strong, overlaps, strongest
from transferkit_distraction.views import Part, View, Viewer, shared_numbers

if TYPE_CHECKING:
    from transferkit_lingering import Memories

    from transferkit.training.progress import Bar
    from transferkit_distraction.analyzer import Distraction

PIECE = 64


@dataclass(frozen=True, eq=False)
class Found:
    """What was measured on the n composites of one source class."""

    part: Part
    views: dict[str, View]
    """By role; the baseline's may be missing."""
    distraction: dict[str, Tensor]
    """Eq. 4 by role (target, baseline): (n,) float64."""
    occluded: dict[str, Tensor]

    @property
    def number(self) -> int:
        """The source class."""
        return self.part.number

    @property
    def target(self) -> View:
        """What M^t made of them."""
        return self.views["target"]

    @property
    def wrong(self) -> Tensor:
        """(n,) bool: M^t does not give the pasted image's class."""
        return self.target.predicted != self.part.labels


@dataclass(eq=False)
class Study:
    """All that the report tells."""

    session: AnalysisSession
    options: Distraction
    memories: Memories
    composites: Composites
    viewers: dict[str, Viewer]
    found: list[Found] = field(default_factory=list)
    unrelated: dict[str, list[float]] = field(default_factory=dict)
    """Per role, for each class of `found`: see `unrelated`."""
    gaps: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the canvas."""
        return self.viewers["target"].model.preprocessing.input_size

    @property
    def classes(self) -> list[str]:
        """The target classes."""
        return self.viewers["target"].model.classes

    def state(self, number: int) -> str:
        """lingering by Eq. 3 (uncertain classes with few images included), shared, or source_only."""
        if number in self.memories.lingering:
            return "lingering"
        return "shared" if self.memories.state[number] == "shared" else "source_only"

    def of(self, state: str) -> list[Found]:
        """What was found for the classes of a state."""
        return [found for found in self.found if self.state(found.number) == state]


def measure(session: AnalysisSession, options: Distraction) -> Study:
    """Composites of the chosen classes, seen by all models."""
    from transferkit_lingering import memories

    if not session.has("source"):
        raise InputError(
            "distraction compares where a model looks with where the source model does, and this analysis has no "
            "source model; name it"
        )
    memory = memories(session)
    chosen = choose(np.flatnonzero(memory.images).tolist(), memory.lingering.tolist(), options.classes, session.seed)
    made = session.composites(chosen, pool=_pool(session), scale=options.scale, total=options.composites)
    study = Study(session, options, memory, made, {})
    study.viewers = _viewers(study)
    _look(study, chosen)
    study.unrelated = {role: unrelated(study, role) for role in study.viewers if role != "source"}
    return study


def _pool(session: AnalysisSession) -> list[int]:
    """The overlays that M^t knows: on others, a wrong answer would not be the background's fault."""
    seen = session.predictions("target", "target", session.overlay_split())
    right = torch.nonzero(seen.predicted() == seen.labels).flatten()
    if not len(right):
        raise InputError(
            f"the target model is wrong on all {len(seen.labels)} {session.overlay_split()} images of its own task, so "
            "there is none to paste whose answer a background could change"
        )
    found: list[int] = right.tolist()
    return found


def _viewers(study: Study) -> dict[str, Viewer]:
    session, options = study.session, study.options
    classes = session.model("target").classes
    found = {
        "source": Viewer(session, "source", options),
        "target": Viewer(session, "target", options, list(range(len(classes)))),
    }
    if not session.has("baseline"):
        study.gaps.append(
            "There is no baseline (the same task trained from scratch), so whether a model without memories would look "
            "at the same places is not known."
        )
        return found
    try:
        known = shared_numbers(classes, session.model("baseline").classes)
        found["baseline"] = Viewer(session, "baseline", options, known)
    except InputError as error:
        study.gaps.append(f"The baseline could not be compared: {error}.")
    return found


def _look(study: Study, chosen: Sequence[int]) -> None:
    items = study.composites.items
    parts = [Part(c, study.composites, [i for i, item in enumerate(items) if item.source_class == c]) for c in chosen]
    passes = sum(viewer.passes for viewer in study.viewers.values())
    with study.session.progress(passes * len(items), "looking at composites") as bar:
        for part in parts:
            study.found.append(_found(study, part, bar))
            part.forget()


def _found(study: Study, part: Part, bar: Bar) -> Found:
    views = {role: viewer.view(part, bar) for role, viewer in study.viewers.items()}
    seen = {role: strong_pixels(study, view.maps, part.boxes) for role, view in views.items()}
    distraction = {role: overlaps(seen[role], seen["source"]) for role in views if role != "source"}
    target = study.viewers["target"]
    facts = {
        "views": [target.facts(part), study.viewers["source"].facts(part)],
        "pixels": [study.options.percentile, study.options.scope],
        "seed": study.session.seed,
    }
    wrong = views["target"].predicted != part.labels
    return Found(part, views, distraction, occluded(target, part, wrong, seen["source"].pixels, facts))


def strong_pixels(study: Study, maps: Tensor, boxes: Sequence[tuple[int, int, int, int]]) -> Strong:
    """Where a model looks outside the boxes: maps (n, h, w) at the size of the canvas, in pieces that fit in memory.

    Interpolated in float64: rounding must not make a difference between pixels where the map has none.
    """
    pieces = [slice(start, start + PIECE) for start in range(0, len(maps), PIECE)]
    large = (upsample(maps[piece].double(), study.size).float() for piece in pieces)
    how = study.options.percentile, study.options.scope
    return Strong.joined(strongest(each, boxes[piece], *how) for each, piece in zip(large, pieces, strict=True))


def unrelated(study: Study, role: str) -> list[float]:
    """Per class, the mean of Eq. 4 with what the source model sees in pictures of other classes instead.

    For each composite the one of another class whose overlay is nearest to the same place. What remains is what two
    maps share whatever the picture shows: the middle, the side away from the overlay. NaN where there is one class.
    """
    if len(study.found) < 2:
        return [math.nan] * len(study.found)
    maps = torch.cat([found.views["source"].maps for found in study.found])
    places = np.array([item.box for found in study.found for item in found.part.items])
    owners = np.repeat(range(len(study.found)), [len(found.part.indices) for found in study.found])
    means = []
    for owner, found in enumerate(study.found):
        rows = torch.from_numpy(nearest(places, owners, owner))
        seen = strong_pixels(study, found.views[role].maps, found.part.boxes)
        means.append(float(overlaps(seen, strong_pixels(study, maps[rows], found.part.boxes)).nanmean()))
    return means


def nearest(places: NDArray[np.int64], owners: NDArray[np.int64], owner: int) -> NDArray[np.int64]:
    """For each place (top, left, …) of one owner, the row of the nearest one of the others; the first of equal ones."""
    others = np.flatnonzero(owners != owner)
    own, their = (places[rows][:, :2].astype(np.float64) for rows in (owners == owner, others))
    squared = ((own[:, None] - their[None]) ** 2).sum(axis=2)
    found: NDArray[np.int64] = others[squared.argmin(axis=1)]
    return found
