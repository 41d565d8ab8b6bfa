"""Composites for the evaluation, and two controls that have the same pasted edge without a source image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import Composites, mean_colour
from transferkit.data import key
from transferkit_interference.material import Material, Seen

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.options import Options

KINDS = ("composites", "colour", "other")
"""A target image pasted on a source image, on one colour, on another target image."""
SURPLUS = 4  # composites asked for per one wanted: about half have a background that evaluates


def paste(session: AnalysisSession, material: Material, options: Options, gaps: list[str]) -> dict[str, Seen]:
    """{kind: what the models made of it}, all in the same order, labelled with the overlay's class.

    Overlays: clean images of the judging half that M^t gets right, so that an error is the background's. Backgrounds:
    source images that neither chose nor fitted, of a keyed choice of the lingering classes that have one. Empty, with
    a gap, where there is nothing to paste or to paste on.
    """
    lingering = np.unique(material.source.labels[material.lingering]).tolist()
    drawn = sorted(lingering, key=partial(key, session.seed, "interference", "class"))
    classes = sorted(drawn[: options.composite_classes])
    pool = np.flatnonzero(material.right(material.clean) & material.judge)
    if not len(classes) or not len(pool):
        if options.composite_classes:
            what = "no overlay that the model gets right" if len(classes) else "no lingering class with two images"
            gaps.append(f"There is {what}, so nothing was pasted: harm and composites are not measured.")
        return dict.fromkeys(KINDS, material.clean.at(np.zeros(0, dtype=np.int64)))
    wanted = options.composites_per_class
    made = session.composites(classes, pool=pool.tolist(), scale=options.scale, total=SURPLUS * wanted)
    items, taken = [], dict.fromkeys(classes, 0)
    for item in made.items:
        if material.hold[item.background] and taken[item.source_class] < wanted:
            taken[item.source_class] += 1
            items.append(item)
    composites = Composites(made.backgrounds, made.overlays, items)
    labels = np.array([item.overlay_class for item in composites.items], dtype=np.int64)
    behind = np.array([item.source_class for item in composites.items], dtype=np.int64)
    layers = list(material.clean.taps)
    target, source = (
        _features(session, "target", composites, pool, layers),
        _features(session, "source", composites, pool),
    )
    return {
        kind: Seen(target[kind], source[kind], labels, behind, {name: target[f"{kind} {name}"] for name in layers})
        for kind in KINDS
    }


def _features(
    session: AnalysisSession, role: str, composites: Composites, pool: NDArray[np.int64], layers: Sequence[str] = ()
) -> dict[str, Tensor]:
    """{kind: (n, d)} of a model, and {"kind layer": (n, C)} of its inner layers; kept in the cache."""
    others = []  # overlays that stand in for the backgrounds; the same one where there is no other
    for item in composites.items:
        rest = pool[pool != item.overlay]
        drawn = key(session.seed, "interference", "other", item.overlay, item.background_id)
        others.append(int(rest[drawn % len(rest)]) if len(rest) else item.overlay)
    ground = mean_colour(session.model("target").preprocessing.mean)
    facts = {
        "what": "features of composites",
        "model": session.digest(role),
        "composites": session.composites_digest(composites.items),
        "others": others,
        "colour": ground,
        "device": session.device.type,
        **({"layers": list(layers)} if layers else {}),
    }

    readings = {name: session.model(role).reading(name) for name in layers}

    def compute() -> dict[str, Tensor]:
        total = len(KINDS) * len(composites)
        with session.progress(total, f"{role} model on {len(composites)} composites and controls") as bar:
            makers = {
                "composites": composites.pixels,
                "colour": lambda i: composites.on_colour(i, ground),
                "other": lambda i: composites.paste(i, composites.overlays.picture(others[i])),
            }
            found: dict[str, Tensor] = {}
            for kind, make in makers.items():
                parts = [torch.empty(0, session.model(role).num_features)]
                inner: dict[str, list[Tensor]] = {name: [] for name in layers}
                for output in session.answers(role, map(make, range(len(composites))), layers):
                    parts.append(output.features.float().cpu())
                    for name, tapped in inner.items():
                        tapped.append(readings[name].pooled(output.taps[name]).float().cpu())
                    bar.advance(len(output.features))
                found[kind] = torch.cat(parts)
                found |= {f"{kind} {name}": torch.cat(tapped) for name, tapped in inner.items()}
            return found

    return session.cached(facts, compute)
