"""The composites: which overlay goes on which background image and where, all by key; and what models answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.analysis import Composite, Composites, canvas_of, mean_colour, place_overlay, stretched
from transferkit.data import Samples, key

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.analysis import AnalysisSession


@dataclass(frozen=True)
class Maker:
    """Makes composites of two sets of samples; each depends on (seed, class, image id, repeat, overlay id) alone."""

    backgrounds: Samples
    overlays: Samples
    seed: int
    scale: float
    repeats: int
    limit: int

    def items(self, source_class: int, images: Sequence[int], overlays: Sequence[int]) -> list[Composite]:
        """Every overlay on every image `repeats` times; where that is more than `limit`, a keyed choice of them.

        The choice takes equally many of each overlay, and a larger limit only adds to it.
        """
        ids, names, canvas = self.backgrounds.ids, self.overlays.ids, canvas_of(self.backgrounds)
        by_overlay = [
            sorted(
                (key(self.seed, "confusion", source_class, ids[image], repeat, names[overlay]), overlay, image, repeat)
                for image in images
                for repeat in range(self.repeats)
            )
            for overlay in overlays
        ]
        in_turn = (one for turn in zip(*by_overlay, strict=True) for one in sorted(turn))
        found = []
        for _, overlay, image, repeat in islice(in_turn, self.limit):
            name, label = names[overlay], int(self.overlays.labels[overlay])
            draw = key("confusion", name, repeat)  # one number for overlay and repeat
            _, *place = place_overlay(self.seed, source_class, ids[image], draw, 1, min(canvas), self.scale)
            where = stretched(place, canvas)
            found.append(Composite(source_class, image, ids[image], repeat, overlay, name, label, *where))
        return found


def first_places(composites: Composites, places: int) -> NDArray[np.int64]:
    """Of each overlay the first few composites: the places at which it is shown on one colour."""
    seen: Counter[int] = Counter()
    chosen = []
    for index, item in enumerate(composites.items):
        seen[item.overlay] += 1
        if seen[item.overlay] <= places:
            chosen.append(index)
    return np.array(chosen, dtype=np.int64)


def ask(
    session: AnalysisSession, role: str, order: list[int], composites: Composites, plain: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) the class that a model takes each composite for, and (m,) those of `plain` on one colour; kept in the cache.

    `order` says where each target class is among the model's outputs.
    """
    ground = mean_colour(session.model("target").preprocessing.mean)
    facts = {
        "what": "classes of composites",
        "model": session.digest(role),
        "order": order,
        "composites": session.composites_digest(composites.items),
        "plain": plain.tolist(),
        "colour": ground,
        "device": session.device.type,
    }

    def compute() -> dict[str, Tensor]:
        found = []
        total = len(composites) + len(plain)
        pictures = chain(
            map(composites.pixels, range(len(composites))),
            (composites.on_colour(index, ground) for index in plain.tolist()),
        )
        with session.progress(total, f"{role} model on {total} composites") as bar:
            for output in session.answers(role, pictures):
                found.append(output.logits.cpu()[:, order].argmax(dim=1))  # of equal logits the lower class
                bar.advance(len(output.logits))
        return {"classes": torch.cat(found)}

    both = session.cached(facts, compute)["classes"].numpy()
    return both[: len(composites)], both[len(composites) :]
