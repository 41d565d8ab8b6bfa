"""Composites for the evaluation, and two controls that have the same pasted edge without a source image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import Composites, mean_colour
from transferkit.data.randomness import key
from transferkit_interference.material import Material, Seen

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.analyzer import InterferenceDetector

BATCH = 16
KINDS = ("composites", "colour", "other")
"""A target image pasted on a source image, on one colour, on another target image."""
SURPLUS = 4  # composites asked for per one wanted: about half have a background that evaluates


@dataclass(frozen=True)
class Pasted:
    """What the models made of each kind, in the same order; labels are the overlay's class."""

    seen: dict[str, Seen]
    classes: int


def paste(session: AnalysisSession, material: Material, options: InterferenceDetector, gaps: list[str]) -> Pasted:
    """Make them and ask both models; empty, with a gap, where there is nothing to paste or to paste on.

    Overlays: clean images of the judging half that M^t gets right, so that an error is the background's. Backgrounds:
    source images of lingering classes that neither chose nor fitted.
    """
    classes = _classes(session, material, options.composite_classes)
    pool = _pool(material)
    if not len(classes) or not len(pool):
        if options.composite_classes:
            what = "no overlay that the model gets right" if len(classes) else "no lingering class with two images"
            gaps.append(f"There is {what}, so nothing was pasted: harm and composites are not measured.")
        return Pasted(dict.fromkeys(KINDS, material.clean.at(np.zeros(0, dtype=np.int64))), 0)
    composites = _compose(session, material, options, classes, pool)
    labels = np.array([item.overlay_class for item in composites.items], dtype=np.int64)
    target, source = (_features(session, role, composites, pool) for role in ("target", "source"))
    seen = {kind: Seen(target[kind], source[kind], labels) for kind in KINDS}
    return Pasted(seen, len({item.source_class for item in composites.items}))


def _classes(session: AnalysisSession, material: Material, wanted: int) -> list[int]:
    """A keyed choice of lingering classes that have an image in the evaluating half."""
    found = np.unique(material.source.labels[material.lingering]).tolist()
    return sorted(sorted(found, key=lambda number: key(session.seed, "interference", "class", number))[:wanted])


def _pool(material: Material) -> NDArray[np.int64]:
    right = material.own.logits(material.clean.target).argmax(dim=1).numpy() == material.clean.labels
    return np.flatnonzero(right & material.judge)


def _compose(
    session: AnalysisSession,
    material: Material,
    options: InterferenceDetector,
    classes: list[int],
    pool: NDArray[np.int64],
) -> Composites:
    wanted = options.composites_per_class
    made = session.composites(classes, pool=pool.tolist(), scale=options.scale, total=SURPLUS * wanted)
    items, taken = [], dict.fromkeys(classes, 0)
    for item in made.items:
        if material.hold[item.background] and taken[item.source_class] < wanted:
            taken[item.source_class] += 1
            items.append(item)
    return Composites(made.backgrounds, made.overlays, items)


def _features(
    session: AnalysisSession, role: str, composites: Composites, pool: NDArray[np.int64]
) -> dict[str, Tensor]:
    """{kind: (n, d)} of a model, kept in the cache."""
    others = [_other(session.seed, item.overlay, item.background_id, pool) for item in composites.items]
    ground = mean_colour(session.model("target").preprocessing.mean)
    facts = {
        "what": "features of composites",
        "model": session.digest(role),
        "composites": session.composites_digest(composites.items),
        "others": others,
        "colour": ground,
        "device": session.device.type,
    }

    def compute() -> dict[str, Tensor]:
        total = len(KINDS) * len(composites)
        with session.progress(total, f"{role} model on {len(composites)} composites and controls") as bar:
            makers = {
                "composites": composites.pixels,
                "colour": lambda i: composites.on_colour(i, ground),
                "other": lambda i: composites.paste(i, composites.overlays.picture(others[i])),
            }
            return {kind: _ask(session, role, make, len(composites), bar) for kind, make in makers.items()}

    return session.cached(facts, compute)


@torch.no_grad()
def _ask(session: AnalysisSession, role: str, make: Any, count: int, bar: Any) -> Tensor:
    model, batches, found = session.model(role), session.batches(role), []
    for start in range(0, count, BATCH):
        pictures = [make(index) for index in range(start, min(start + BATCH, count))]
        found.append(model(batches(pictures)).features.float().cpu())
        bar.advance(len(pictures))
    return torch.cat(found) if found else torch.empty(0, model.num_features)


def _other(seed: int, overlay: int, background: str, pool: NDArray[np.int64]) -> int:
    """Another overlay to stand in for the background; the same one where there is no other."""
    others = pool[pool != overlay]
    return (
        int(others[key(seed, "interference", "other", overlay, background) % len(others)]) if len(others) else overlay
    )
