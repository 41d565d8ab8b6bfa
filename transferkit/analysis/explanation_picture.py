"""An explanation as one picture: what the model saw beside the maps of each class, a row for every view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.analysis.explanations import Explanation, Sight, View
from transferkit.analysis.plots import TileRow, overlay_heat, tile_rows
from transferkit.words.formats import first_name, percent

LEGEND = (
    "Colour shows where the model sees the class named above: yellow most, violet a little, grey nothing that speaks "
    "for it. Each class has a scale of its own, so colours tell places, not which class is likelier: the per cent do."
)
SCALE = "Maps below each other are of one class, on one scale."
RANGE = "In brackets: from the lowest to the highest of all places where as much was greyed."
SOURCE = "(source): a class of the model that this one was fine-tuned from, by its old classifier on the new features."
STRENGTH = 0.75  # of the colours, on a picture that has none of its own


def draw(path: Path, found: Explanation, photo: str) -> None:
    """Write the picture as a JPEG. Each class's maps are scaled to the largest value that any of its views has."""
    tops = [
        max(float(np.nan_to_num(view.sights[i].map, posinf=0.0).max()) for view in found.views)
        for i in range(len(found.views[0].sights))
    ]
    rows = [_row(view, tops, found, photo) for view in found.views]
    notes = [LEGEND, *([SCALE] if len(rows) > 1 else []), *([RANGE] if found.control else []), *found.notes]
    if any(sight.role == "source" for sight in found.views[0].sights):
        notes.insert(1, SOURCE)
    tile_rows(path, rows, notes)


def _row(view: View, tops: list[float], found: Explanation, photo: str) -> TileRow:
    titles = [_title(view, found, photo), *(_caption(view, sight, found) for sight in view.sights)]
    tiles = [view.pixels, *(overlaid(view, sight, top) for sight, top in zip(view.sights, tops, strict=True))]
    return TileRow(tiles, titles, [view.box] * len(tiles))


def overlaid(view: View, sight: Sight, top: float) -> Any:
    """The map on the picture without its colours, which could be taken for the map's; yellow is `top`."""
    grey = np.repeat(np.asarray(Image.fromarray(view.pixels).convert("L"))[..., None], 3, axis=2)
    if sight.trouble is not None:
        return grey
    return overlay_heat(grey, sight.map / max(top, 1e-12), STRENGTH)


def _title(view: View, found: Explanation, photo: str) -> tuple[str, str]:
    if view.kind == "photo":
        return photo, "as the model sees it"
    if view.kind == "greyed":
        return "without what is in the box", f"{percent(found.covered, 0)} of what the model sees"
    assert found.control is not None
    return "as much greyed elsewhere", f"the median of {found.control.places} places"


def _caption(view: View, sight: Sight, found: Explanation) -> tuple[str, str]:
    name = first_name(sight.name) + (" (source)" if sight.role == "source" else "")
    said = [percent(sight.probability)]
    if view.kind == "elsewhere" and found.control is not None:
        places = found.control.probabilities[sight.role, sight.name]
        said = [f"{said[0]} ({100 * min(places):.1f} to {100 * max(places):.1f})"]
    if view.answers[sight.role][0] == sight.name:
        said.append("its answer")
    if sight.trouble is not None:
        said.append("empty map" if sight.trouble == "empty" else "no map")
    return name, ", ".join(said)
