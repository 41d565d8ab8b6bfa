"""Where the models look on the composites of a class, how far they look at the same places, and what hiding them does.

Hiding is figure 5 of paper 000 on composites, with the control that it lacks: does it put wrong answers right, and more
so than hiding as much elsewhere?
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import Bar, upsample
from transferkit_distraction.options import Options
from transferkit_distraction.overlap import Strong, outside, overlaps, strongest
from transferkit_distraction.views import Part, Pixels, View, Viewer

PIECE = 64

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Seen:
    """What the models made of the n composites of one source class."""

    part: Part
    views: dict[str, View]
    """By role; the baseline's may be missing."""
    distraction: dict[str, Tensor]
    """Eq. 4 by role (target, baseline): (n,) float64."""
    wrong: Tensor
    """(n,) bool: M^t does not give the pasted image's class."""
    occluded: dict[str, Tensor]
    """Those of the wrong ones with a part hidden; see `occluded`."""


def look(viewers: Mapping[str, Viewer], part: Part, options: Options, bar: Bar) -> Seen:
    """All models on the composites of one class."""
    target = viewers["target"]
    views = {role: viewer.view(part, bar) for role, viewer in viewers.items()}
    seen = {role: strong_pixels(view.maps, part.boxes, target.canvas, options) for role, view in views.items()}
    distraction = {role: overlaps(seen[role], seen["source"]) for role in views if role != "source"}
    wrong = views["target"].predicted != part.labels
    return Seen(part, views, distraction, wrong, occluded(viewers, part, wrong, seen["source"].pixels, options))


def strong_pixels(
    maps: Tensor, boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int], options: Options
) -> Strong:
    """Where a model looks outside the boxes: maps (n, h, w) at the canvas's `size`, in pieces that fit in memory.

    Interpolated in float64: rounding must not make a difference between pixels where the map has none.
    """
    found = []
    for piece in (slice(start, start + PIECE) for start in range(0, len(maps), PIECE)):
        large = upsample(maps[piece].double(), size).float()
        found.append(strongest(large, boxes[piece], options.percentile, options.scope))
    return Strong(torch.cat([one.pixels for one in found]), torch.cat([one.known for one in found]))


def unrelated(every: Sequence[Seen], role: str, size: tuple[int, int], options: Options) -> list[float]:
    """Per class, the mean of Eq. 4 with what the source model sees in pictures of other classes instead.

    For each composite the one of another class whose overlay is nearest to the same place. What remains is what two
    maps share whatever the picture shows: the middle, the side away from the overlay. NaN where there is one class,
    or no model in that role.
    """
    if len(every) < 2 or role not in every[0].views:
        return [math.nan] * len(every)
    maps = torch.cat([seen.views["source"].maps for seen in every])
    places = np.array([item.box for seen in every for item in seen.part.items])
    owners = np.repeat(range(len(every)), [len(seen.part.indices) for seen in every])
    means = []
    for owner, seen in enumerate(every):
        rows, boxes = torch.from_numpy(nearest(places, owners, owner)), seen.part.boxes
        own, others = (strong_pixels(some, boxes, size, options) for some in (seen.views[role].maps, maps[rows]))
        means.append(float(overlaps(own, others).nanmean()))
    return means


def nearest(places: NDArray[np.int64], owners: NDArray[np.int64], owner: int) -> NDArray[np.int64]:
    """For each place (top, left, …) of one owner, the row of the nearest one of the others; the first of equal ones."""
    others = np.flatnonzero(owners != owner)
    own, their = (places[rows][:, :2].astype(np.float64) for rows in (owners == owner, others))
    squared = ((own[:, None] - their[None]) ** 2).sum(axis=2)
    found: NDArray[np.int64] = others[squared.argmin(axis=1)]
    return found


def occluded(
    viewers: Mapping[str, Viewer], part: Part, wrong: Tensor, seen: Tensor, options: Options
) -> dict[str, Tensor]:
    """What M^t says to the wrongly answered composites once a part of their background has the mean colour.

    `wrong` (n,) bool; `seen` (n, H, W) bool, where the source model looks. For the m wrong ones in which that is
    anywhere: `index` (m,) within the part, `hidden` (m,) the class predicted without these pixels, `control` (m,)
    without as many others, `shared` (m,) the share of these pixels that are the same.
    """
    viewer = viewers["target"]
    facts = {
        "what": "occlusion",
        "views": [viewer.facts(part), viewers["source"].facts(part)],
        "pixels": [options.percentile, options.scope],
        "seed": viewer.session.seed,
    }
    index = torch.nonzero(wrong & seen.flatten(1).any(dim=1)).flatten()

    def compute() -> dict[str, Tensor]:
        hidden: list[Pixels] = []
        control: list[Pixels] = []
        shares = []
        for row in index.tolist():
            item, mask = part.items[row], seen[row].numpy()
            rng = viewer.session.rng("occlusion", item.source_class, item.background_id, item.repeat)
            # a quarter to three quarters of the picture further: elsewhere, but no farther than it can be
            elsewhere = shifted(mask, item.box, float(rng.uniform(0.25, 0.75)))
            shares.append(float((mask & elsewhere).sum() / mask.sum()))
            for pictures, covered in ((hidden, mask), (control, elsewhere)):
                picture = part.pixels[row].copy()
                picture[covered] = viewer.colour
                pictures.append(picture)
        return {
            "index": index,
            "hidden": viewer.predict(hidden),
            "control": viewer.predict(control),
            "shared": torch.tensor(shares, dtype=torch.float64),
        }

    return viewer.session.cached(facts, compute)


def shifted(mask: Mask, box: Sequence[int], fraction: float) -> Mask:
    """The mask (H, W) moved round by a fraction of the background's pixels, row by row and past the box.

    It keeps its number of pixels, and none of them is in the box (top, left, bottom, right).
    """
    background = outside([tuple(box)], mask.shape)[0].numpy()
    values = mask[background]
    found = np.zeros_like(mask)
    found[background] = np.roll(values, int(fraction * len(values)))
    return found
