"""Does hiding what the source model sees put wrong answers right, and more so than hiding as much elsewhere?

Figure 5 of paper 000 on composites, with the control that it lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit_distraction.overlap import outside

if TYPE_CHECKING:
    from transferkit_distraction.views import Part, Viewer

Mask = NDArray[np.bool_]


def occluded(viewer: Viewer, part: Part, wrong: Tensor, seen: Tensor, facts: dict[str, Any]) -> dict[str, Tensor]:
    """What M^t says to the wrongly answered composites once a part of their background has the mean colour.

    `wrong` (n,) bool; `seen` (n, H, W) bool, where the source model looks. For the m wrong ones in which that is
    anywhere: `index` (m,) within the part, `hidden` (m,) the class predicted without these pixels, `control` (m,)
    without as many others, `shared` (m,) the share of these pixels that are the same.
    """
    index = torch.nonzero(wrong & seen.flatten(1).any(dim=1)).flatten()

    def compute() -> dict[str, Tensor]:
        chosen = index.tolist()
        hidden = [seen[i].numpy() for i in chosen]
        control = [_elsewhere(viewer, part, i, mask) for i, mask in zip(chosen, hidden, strict=True)]
        shares = [float((a & b).sum() / a.sum()) for a, b in zip(hidden, control, strict=True)]
        return {
            "index": index,
            "hidden": viewer.predict(_covered(part, chosen, hidden, viewer.colour)),
            "control": viewer.predict(_covered(part, chosen, control, viewer.colour)),
            "shared": torch.tensor(shares, dtype=torch.float64),
        }

    found: dict[str, Tensor] = viewer.session.cached({"what": "occlusion", **facts}, compute)
    return found


def shifted(mask: Mask, box: Sequence[int], fraction: float) -> Mask:
    """The mask (H, W) moved round by a fraction of the background's pixels, row by row and past the box.

    It keeps its number of pixels, and none of them is in the box (top, left, bottom, right).
    """
    background = outside([tuple(box)], mask.shape)[0].numpy()
    values = mask[background]
    found = np.zeros_like(mask)
    found[background] = np.roll(values, int(fraction * len(values)))
    return found


def _elsewhere(viewer: Viewer, part: Part, index: int, mask: Mask) -> Mask:
    """Moved by a keyed quarter to three quarters of the picture: elsewhere, but no farther than it can be."""
    item = part.items[index]
    rng = viewer.session.rng("occlusion", item.source_class, item.background_id, item.repeat)
    return shifted(mask, item.box, float(rng.uniform(0.25, 0.75)))


def _covered(part: Part, indices: Sequence[int], masks: Sequence[Mask], colour: Sequence[int]) -> list[Any]:
    """The composites with their masked pixels in one colour."""
    found = []
    for index, mask in zip(indices, masks, strict=True):
        picture = part.pixels[index].copy()
        picture[mask] = colour
        found.append(picture)
    return found
