"""The pictures: classes in a scatter plot (figure 3a of paper 000), and composites as tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis import (
    COLOURS,
    GRID,
    SOFT,
    TileRow,
    dots,
    legend_above,
    name_points,
    overlay_heat,
    short_name,
    tile_rows,
    upsample,
)
from transferkit.data import key
from transferkit.report import first_name
from transferkit_distraction.classes import SourceClass, full
from transferkit_distraction.measure import Findings
from transferkit_distraction.verdict import percent_of, value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from transferkit.analysis import AnalysisSession
    from transferkit_distraction.options import Options

STATES = {
    "lingering": ("lingering", COLOURS[1], "o"),
    "shared": ("shared with the target", COLOURS[0], "s"),
    "source_only": ("source-only, forgotten", SOFT, "x"),
    "uncertain": ("source-only, uncertain", COLOURS[2], "^"),
}


LOOKS = {"source": "source model", "target": "fine-tuned model", "baseline": "baseline"}
TILE = 190  # pixels: a line of text over each of four fits, and eight rows stay below 400 kB


def draw(session: AnalysisSession, options: Options, found: Findings) -> dict[str, str]:
    """Draw everything into the session's folder; {file: caption} in the order of the report."""
    drawn = {}
    if any(math.isfinite(one.difference) for one in found.classes):
        drawn["scatter.svg"] = _scatter(session, found)
    elif any(math.isfinite(one.target.distraction) for one in found.classes):
        drawn["classes.svg"] = _dots(session, found)
    return drawn | _gallery(session, found, options.gallery)


def _scatter(session: AnalysisSession, found: Findings) -> str:
    pairs = [one for one in found.classes if math.isfinite(one.difference)]
    with session.picture("scatter", 5.6, 6.3) as (_, axes):
        _lines(axes, found.chance, found.baseline.unrelated, found.target.unrelated)
        _mark(axes, pairs, lambda one: one.baseline.distraction)
        top = 1.06 * max(max(one.baseline.distraction, one.target.distraction) for one in pairs)
        top = max(top, 1.2 * found.chance)
        axes.plot([0, top], [0, top], color=SOFT, linewidth=1)
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.set_aspect("equal")
        axes.set_xlabel("distraction of the baseline")
        axes.set_ylabel("distraction of the fine-tuned model")
        farthest = sorted(pairs, key=lambda one: -abs(one.difference))
        places = [(one.baseline.distraction, one.target.distraction) for one in farthest]
        name_points(axes, places, [short_name(first_name(one.name), 16) for one in farthest], dots=places)
        axes.grid(axis="both", color=GRID, linewidth=0.8)
        legend_above(axes)
    return (
        "Each mark is a source class: the mean over its composites of how far a model looks, outside the pasted image, "
        "where the source model sees that class. Above the diagonal the fine-tuned model is distracted more than the "
        f"baseline. Dashed: the same with the source model's view of other pictures; dotted: two independent masks "
        f"({found.chance:.2f})."
    )


def _dots(session: AnalysisSession, found: Findings) -> str:
    known = (one for one in found.classes if math.isfinite(one.target.distraction))
    classes = sorted(known, key=lambda one: one.target.distraction)
    named = len(classes) <= 60
    with session.picture("classes", 6.4, 1.4 + (0.24 * len(classes) if named else 5.0)) as (_, axes):
        _lines(axes, found.chance, found.target.unrelated)
        places = {one.number: place for place, one in enumerate(classes)}
        _mark(axes, classes, lambda one: places[one.number], horizontal=True)
        names = [short_name(first_name(one.name)) for one in classes]
        axes.set_yticks(range(len(names)) if named else [], names if named else [])
        axes.set_xlim(left=0)
        axes.set_xlabel("distraction of the fine-tuned model")
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.legend(loc="lower right")
    return (
        "Source classes by distraction: how far the fine-tuned model looks, outside the pasted image, where the source "
        "model sees that class (mean over its composites). Dashed: the same with the source model's view of other "
        f"pictures; dotted: two independent masks ({found.chance:.2f})."
    )


def _mark(
    axes: Axes, classes: Sequence[SourceClass], place: Callable[[SourceClass], float], *, horizontal: bool = False
) -> None:
    """A mark per class at its distraction of M^t, which shows its state."""
    for state, (name, colour, marker) in STATES.items():
        group = [one for one in classes if one.state == state]
        if group:
            places, values = [place(one) for one in group], [one.target.distraction for one in group]
            label = f"{name} ({len(group)})"
            dots(axes, places, values, colour=colour, marker=marker, label=label, horizontal=horizontal)


def _lines(axes: Axes, chance: float, x: float, y: float | None = None) -> None:
    """Where marks would lie by chance: lines along both axes with `y`, along the first one without."""
    if math.isfinite(x):
        axes.axvline(x, color=SOFT, linestyle="--", linewidth=1, label="other pictures")
    axes.axvline(chance, color=SOFT, linestyle=":", linewidth=1, label="independent masks")
    if y is not None:
        axes.axhline(chance, color=SOFT, linestyle=":", linewidth=1)
        if math.isfinite(y):
            axes.axhline(y, color=SOFT, linestyle="--", linewidth=1)


# --- the gallery ----------------------------------------------------------------------------------------------


def _gallery(session: AnalysisSession, found: Findings, count: int) -> dict[str, str]:
    drawn = {}
    for number, (one, row) in enumerate(shown(found, count, session.seed), start=1):
        name, part, views, scores = f"gallery-{number:02d}.jpg", one.seen.part, one.seen.views, one.seen.distraction
        roles = [role for role in LOOKS if role in views]
        pixels = found.composites.pixels(part.indices[row])
        heats = [upsample(views[role].maps[row : row + 1], pixels.shape[:2])[0].numpy() for role in roles]
        tops = [max(float(np.nanmax(heat, initial=0.0)), 1e-12) for heat in heats]
        tiles = [pixels, *(overlay_heat(pixels, heat / top) for heat, top in zip(heats, tops, strict=True))]
        said = {role: f"distraction {value(float(each[row]))}" for role, each in scores.items()}
        titles = [
            ("the picture", "your image in the frame"),
            *((LOOKS[role], said.get(role, "looks")) for role in roles),
        ]
        tile_rows(session.out / name, [TileRow(tiles, titles, [part.boxes[row]] * len(tiles))], size=TILE)
        item, view = part.items[row], one.seen.views["target"]
        told = f"distraction {value(float(scores['target'][row]))}"
        if "baseline" in scores:
            told += f", baseline {value(float(scores['baseline'][row]))}"
        drawn[name] = (
            f"{found.names[item.overlay_class]} ({item.overlay_id}) on {first_name(one.name)}: the fine-tuned model "
            f"says {found.names[int(view.predicted[row])]} ({percent_of(float(view.probability[row]))}); {told}"
        )
    return drawn


def shown(found: Findings, count: int, seed: int) -> list[tuple[SourceClass, int]]:
    """(class, row) of so many composites, most distracted beyond the baseline first; that is not what chose them.

    Those that M^t gets wrong come first, then a keyed draw. Of lingering classes where there are any, without those on
    which a map is empty. As many classes as possible are shown before one is shown twice.
    """
    ranked = [(one, row) for one in found.ours or found.classes for row in full(one)]
    ranked.sort(key=lambda each: (not each[0].seen.wrong[each[1]], _draw(seed, *each)))
    first = {one.number: place for place, (one, _) in reversed(list(enumerate(ranked)))}
    chosen = sorted(range(len(ranked)), key=lambda place: (place != first[ranked[place][0].number], place))[:count]
    some = [ranked[place] for place in sorted(chosen)]
    return sorted(some, key=lambda each: -_beyond(*each))


def _beyond(one: SourceClass, row: int) -> float:
    """The distraction of M^t on a composite, less the baseline's where there is one."""
    scores = one.seen.distraction
    return float(scores["target"][row]) - (float(scores["baseline"][row]) if "baseline" in scores else 0.0)


def _draw(seed: int, one: SourceClass, row: int) -> int:
    item = one.seen.part.items[row]
    return key(seed, "gallery", one.number, item.background_id, item.repeat)
