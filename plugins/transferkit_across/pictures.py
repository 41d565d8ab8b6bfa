"""Pictures of `across`: source classes in two models, and numbers over training-set size or architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit.analysis.plots import COLOURS, short_name
from transferkit_across.curves import Line, Measure, Point
from transferkit_across.pairs import Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[[str, float, float], AbstractContextManager[tuple[Figure, Axes]]]

MARKERS = "osD^vP*X"
LARGEST = 800  # square points of a dot
AXES = {"images": "training images", "steps": "optimizer steps", "epochs": "epochs", "architecture": ""}


def scatter(draw: Draw, name: str, pair: Pair) -> tuple[str, str]:
    """One dot per pair of values, as large as the number of classes there, with the fitted line; (file, caption)."""
    both = np.isfinite(pair.x) & np.isfinite(pair.y)
    spots, counts = np.unique(np.stack([pair.x[both], pair.y[both]], axis=1), axis=0, return_counts=True)
    found = pair.correlation
    sizes = np.maximum(8, counts * min(14, LARGEST / counts.max(initial=1)))
    with draw(name, 5.2, 4.8) as (_, axes):
        axes.scatter(spots[:, 0], spots[:, 1], s=sizes, color=COLOURS[0], alpha=0.45, linewidths=0)
        ends = _ends(pair.x[both], pair.y[both])
        if not math.isnan(found.r):
            slope, shift = np.polyfit(pair.x[both], pair.y[both], 1)
            axes.plot(ends, [slope * x + shift for x in ends], color=COLOURS[3], linewidth=1.6)
        margin = 0.05 * (ends[1] - ends[0])
        axes.set_xlim(ends[0] - margin, ends[1] + margin)
        axes.set_ylim(ends[0] - margin, ends[1] + margin)
        axes.set_aspect("equal")
        axes.set_xlabel(short_name(pair.one.label, 46))
        axes.set_ylabel(short_name(pair.other.label, 46))
        text = "no r" if math.isnan(found.r) else f"r = {found.r:.2f}"
        axes.set_title(f"{pair.quantity.text[:1].upper()}{pair.quantity.text[1:]}: {text}", loc="left")
    return f"{name}.svg", _caption(pair)


def _caption(pair: Pair) -> str:
    found, what = pair.correlation, pair.quantity.text
    start = f"{what[:1].upper()}{what[1:]} of {found.n} source classes in {pair.one.label} and {pair.other.label}"
    if math.isnan(found.r):
        return f"{start}: no correlation, because {found.why}."
    return (
        f"{start}: r = {found.r:.2f} (95 % interval {found.low:.2f} to {found.high:.2f}). Larger dots: several classes "
        "with the same values."
    )


def _ends(x: Any, y: Any) -> tuple[float, float]:
    """0 to 1 for shares, else as far as the values go."""
    if not len(x):
        return 0.0, 1.0
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    if 0 <= low <= high <= 1:
        return 0.0, 1.0
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)


def curve(draw: Draw, measure: Measure, lines: Sequence[Line], axis: str) -> tuple[str, str]:
    """Means over a number, with ± sd where there are several seeds; (file, caption)."""
    name = f"{axis}-{measure.key}"
    with draw(name, 6.4, 4.0) as (_, axes):
        ticks: set[float] = set()
        for number, line in enumerate(lines):
            known = _known(line, measure)
            if known:
                x = [getattr(point.facts, axis) for point in known]
                ticks |= set(x)
                _errorbars(axes, x, known, measure, number, line)
        if min(ticks, default=0) > 0 and max(ticks) > 3 * min(ticks):
            axes.set_xscale("log")
        axes.set_xticks(_apart(ticks), [f"{tick:g}" for tick in _apart(ticks)], minor=False)
        axes.set_xticks([], minor=True)
        _finish(axes, measure, [line for line in lines if line.name])
        axes.set_xlabel(AXES[axis])
    seeds = max(len(point.entries) for line in lines for point in line.points)
    over = " Means ± standard deviation over seeds." if seeds > 1 else " One model per dot."
    return f"{name}.svg", f"{_sentence(measure)} over {AXES[axis]}.{over}"


def architectures(draw: Draw, measure: Measure, lines: Sequence[Line]) -> tuple[str, str]:
    """One dot per recipe, by architecture; (file, caption)."""
    name = f"architecture-{measure.key}"
    names = list(dict.fromkeys(str(p.facts.architecture) for line in lines for p in _known(line, measure)))
    with draw(name, 6.4, 4.0) as (_, axes):
        for number, line in enumerate(lines):
            known = _known(line, measure)
            shift = 0.5 * (number + 0.5) / len(lines) - 0.25
            x = [names.index(str(point.facts.architecture)) + shift for point in known]
            _errorbars(axes, _beside(x), known, measure, number, line)
        turned = sum(len(each) for each in names) > 60
        axes.set_xticks(range(len(names)), [short_name(each) for each in names], rotation=30 if turned else 0)
        axes.set_xlim(-0.6, len(names) - 0.4)
        _finish(axes, measure, [line for line in lines if line.name])
    return f"{name}.svg", f"{_sentence(measure)} by architecture; one dot per recipe, ± sd over its seeds."


def _known(line: Line, measure: Measure) -> list[Point]:
    return [point for point in line.points if not math.isnan(point.mean(measure))]


def _errorbars(axes: Any, x: Sequence[float], known: Any, measure: Measure, number: int, line: Line) -> None:
    spread = [point.sd(measure) for point in known]
    axes.errorbar(
        x,
        [point.mean(measure) for point in known],
        yerr=[0.0 if math.isnan(sd) else sd for sd in spread] if any(not math.isnan(sd) for sd in spread) else None,
        color=COLOURS[number % len(COLOURS)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle="-" if line.connected else "none",
        markersize=7,
        capsize=3,
        label=line.name or None,
    )


def _finish(axes: Any, measure: Measure, named: Sequence[Line]) -> None:
    axes.set_title(_sentence(measure), loc="left")
    low, high = axes.get_ylim()
    if low > 0 and low < 0.6 * high:
        axes.set_ylim(0, high)
    if named:
        axes.legend(loc="best")


def _sentence(measure: Measure) -> str:
    return measure.text[:1].upper() + measure.text[1:]


def _apart(ticks: set[float]) -> list[float]:
    """The values, without those that would be written over each other."""
    shown: list[float] = []
    for tick in sorted(ticks):
        if not shown or tick >= 1.15 * shown[-1]:
            shown.append(tick)
    return shown


def _beside(x: Sequence[float]) -> list[float]:
    """Dots of one place beside each other."""
    seen: dict[float, int] = {}
    result = []
    for value in x:
        count = seen[value] = seen.get(value, -1) + 1
        result.append(value + 0.04 * count)
    return result
