"""The pictures: classes in a scatter plot (figure 3a of paper 000), and the most distracted composites as tiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from transferkit_lingering.wording import first_name

from transferkit.analysis import upsample
from transferkit.analysis.plots import COLOURS, GRID, SOFT, overlay_heat, short_name, tile_row
from transferkit_distraction.wording import percent_of, value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from transferkit_distraction.study import Found, Study
    from transferkit_distraction.summary import Row, Summary

STATES = {
    "lingering": ("lingering", COLOURS[1], "o"),
    "shared": ("shared with the target", COLOURS[0], "s"),
    "source_only": ("source-only, forgotten", SOFT, "x"),
}


def figures(study: Study, summary: Summary) -> dict[str, str]:
    """Draw everything into the session's folder; {file: caption} in the order of the report."""
    drawn = {}
    if any(math.isfinite(row.difference) for row in summary.rows):
        drawn["scatter.svg"] = _scatter(study, summary)
    elif any(math.isfinite(row.target) for row in summary.rows):
        drawn["classes.svg"] = _dots(study, summary)
    return drawn | _gallery(study)


def _scatter(study: Study, summary: Summary) -> str:
    metrics = summary.metrics
    with study.session.picture("scatter", 5.6, 6.3) as (_, axes):
        _lines(axes, metrics["chance"], metrics["unrelated_baseline"], metrics["unrelated_target"])
        for state, rows in _groups(summary.rows):
            pairs = [(row.baseline, row.target) for row in rows if math.isfinite(row.difference)]
            _points(axes, state, pairs)
        top = 1.06 * max(max(row.baseline, row.target) for row in summary.rows if math.isfinite(row.difference))
        top = max(top, 1.2 * metrics["chance"])
        axes.plot([0, top], [0, top], color=SOFT, linewidth=1)
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.set_aspect("equal")
        axes.set_xlabel("distraction of the baseline")
        axes.set_ylabel("distraction of the fine-tuned model")
        axes.grid(axis="both", color=GRID, linewidth=0.8)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, columnspacing=1.2)
    return (
        "Each mark is a source class: the mean over its composites of how far a model looks, outside the pasted image, "
        "where the source model sees that class. Above the diagonal the fine-tuned model is distracted more than the "
        f"baseline. Dashed: the same with the source model's view of other pictures; dotted: two independent masks "
        f"({metrics['chance']:.2f})."
    )


def _dots(study: Study, summary: Summary) -> str:
    rows = sorted((row for row in summary.rows if math.isfinite(row.target)), key=lambda row: row.target)
    named = len(rows) <= 60
    with study.session.picture("classes", 6.4, 1.4 + (0.24 * len(rows) if named else 5.0)) as (_, axes):
        _lines(axes, summary.metrics["chance"], summary.metrics["unrelated_target"])
        places = {row.number: place for place, row in enumerate(rows)}
        for state, group in _groups(rows):
            _points(axes, state, [(row.target, places[row.number]) for row in group])
        axes.set_yticks(range(len(rows)) if named else [], [short_name(first_name(r.name)) for r in rows if named])
        axes.set_xlim(left=0)
        axes.set_xlabel("distraction of the fine-tuned model")
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.legend(loc="lower right")
    return (
        "Source classes by distraction: how far the fine-tuned model looks, outside the pasted image, where the source "
        "model sees that class (mean over its composites). Dashed: the same with the source model's view of other "
        f"pictures; dotted: two independent masks ({summary.metrics['chance']:.2f})."
    )


def _groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    found = [(state, [row for row in rows if row.state == state]) for state in STATES]
    return [(state, group) for state, group in found if group]


def _points(axes: Axes, state: str, places: Sequence[tuple[float, float]]) -> None:
    name, colour, marker = STATES[state]
    if places:
        x, y = zip(*places, strict=True)
        axes.scatter(x, y, s=34, color=colour, marker=marker, alpha=0.85, label=f"{name} ({len(places)})", zorder=3)


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


def _gallery(study: Study) -> dict[str, str]:
    drawn = {}
    for number, (found, row) in enumerate(most_distracted(study, study.options.gallery), start=1):
        name = f"gallery-{number:02d}.jpg"
        roles = [role for role in ("source", "target", "baseline") if role in found.views]
        pixels = study.composites.pixels(found.part.indices[row])
        tiles = [pixels, *(overlay_heat(pixels, _heat(found.views[role].maps[row], pixels)) for role in roles)]
        box = found.part.boxes[row]
        tile_row(study.session.out / name, tiles, boxes=[box] * len(tiles))
        drawn[name] = _caption(study, found, row)
    return drawn


def most_distracted(study: Study, count: int) -> list[tuple[Found, int]]:
    """(class, row) of so many composites: those that M^t gets wrong first, then by its distraction.

    Of lingering classes where there are any. As many classes as possible are shown before one is shown twice.
    """
    founds = study.of("lingering") or study.found
    ranked = sorted(
        ((bool(found.wrong[row]), score, found, row) for found in founds for row, score in _scores(found)),
        key=lambda each: (not each[0], -each[1]),
    )
    seen: Counter[int] = Counter()
    nth = []  # how often its class came before
    for _, _, found, _ in ranked:
        nth.append(seen[found.number])
        seen[found.number] += 1
    chosen = sorted(range(len(ranked)), key=lambda place: (nth[place] > 0, place))[:count]
    return [ranked[place][2:] for place in sorted(chosen)]


def _scores(found: Found) -> list[tuple[int, float]]:
    scores = found.distraction["target"].tolist()
    return [(row, score) for row, score in enumerate(scores) if math.isfinite(score)]


def _heat(heat: Tensor, pixels: Any) -> Any:
    """(H, W) in 0..1, brightest at its own maximum."""
    height, width = pixels.shape[:2]
    large = upsample(heat[None], (height, width))[0].numpy()
    return large / max(float(np.nanmax(large, initial=0.0)), 1e-12)


def _caption(study: Study, found: Found, row: int) -> str:
    item, view = found.part.items[row], found.target
    predicted = study.classes[int(view.predicted[row])]
    scores = f"distraction {value(float(found.distraction['target'][row]))}"
    if "baseline" in found.distraction:
        scores += f", baseline {value(float(found.distraction['baseline'][row]))}"
    return (
        f"{study.classes[item.overlay_class]} ({item.overlay_id}) on {first_name(study.memories.names[found.number])}: "
        f"the fine-tuned model says {predicted} ({percent_of(float(view.probability[row]))}); {scores}"
    )
