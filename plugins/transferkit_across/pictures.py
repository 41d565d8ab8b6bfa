"""Pictures of `across`: source classes in two models, and numbers over training-set size or architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis import COLOURS, agreement, name_points, short_name
from transferkit.report import first_name
from transferkit_across.curves import Line, Measure
from transferkit_across.measure import Findings
from transferkit_across.pairs import Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from transferkit_across.options import Options

    Picture = Callable[[str, float, float], AbstractContextManager[tuple[Figure, Axes]]]

MARKERS = "osD^vP*X"
AXES = {"images": "training images", "steps": "optimizer steps", "epochs": "epochs", "architecture": ""}


def draw(picture: Picture, options: Options, found: Findings) -> dict[str, str]:
    """Numbers over size first, then classes in pairs of models, then numbers by architecture; {file: caption}."""
    captions: dict[str, str] = {}
    for axis, known in found.by.items():
        if axis != "architecture":
            captions |= (curve(picture, measure, shown, axis) for measure, shown in _shown(found, known))
    for quantity in found.quantities:
        own = [pair for pair in found.pairs if pair.quantity == quantity and pair.correlation.n > 0]
        for number, pair in enumerate(sorted(own, key=lambda pair: pair.seeds)[: options.pictures], start=1):
            start = "bias" if quantity.targets else quantity.column.replace("recall_head_swap", "recall")
            file, caption = scatter(picture, _file_name(f"{start}-{number}", captions), pair)
            captions[file] = caption
    for measure, shown in _shown(found, found.by.get("architecture", [])):
        captions |= [architectures(picture, measure, shown)]
    return captions


def _shown(found: Findings, known: Sequence[Line]) -> Iterator[tuple[Measure, list[Line]]]:
    """Every number with the lines that have some of it."""
    for measure in found.measures:
        if shown := [line for line in known if line.known(measure)]:
            yield measure, shown


def _file_name(name: str, taken: dict[str, str]) -> str:
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
    while f"{plain}.svg" in taken:
        plain += "b"
    return plain


def scatter(picture: Picture, name: str, pair: Pair) -> tuple[str, str]:
    """One dot per pair of values, larger where classes share it, with the fitted line; (file, caption)."""
    both = np.isfinite(pair.x) & np.isfinite(pair.y)
    x, y = pair.x[both], pair.y[both]
    found, what = pair.correlation, _sentence(pair.quantity.text)
    shares = all(0 <= value <= 1 for value in (*x, *y))
    with picture(name, 5.2, 4.8) as (_, axes):
        agreement(axes, x, y, colour=COLOURS[0], limits=(0, 1) if shares else None, diagonal=False)
        if not math.isnan(found.r):
            ends = axes.get_xlim()
            axes.plot(ends, np.polyval(np.polyfit(x, y, 1), ends), color=COLOURS[3], linewidth=1.6)
            far = np.abs(y - np.polyval(np.polyfit(x, y, 1), x))
            names = [name for name, known in zip(pair.names, both, strict=True) if known]
            order = [one for one in np.argsort(-far, kind="stable") if far[one] > 2 * far.std()]
            shown = [short_name(first_name(names[one]), 16) for one in order]
            name_points(axes, [(x[one], y[one]) for one in order], shown, dots=list(zip(x, y, strict=True)))
        axes.set(xlabel=short_name(pair.one.label, 46), ylabel=short_name(pair.other.label, 46))
        axes.set_title(f"{what}: {'no r' if math.isnan(found.r) else f'r = {found.r:.2f}'}", loc="left")
    start = f"{what} of {found.n} source classes in {pair.one.label} and {pair.other.label}"
    if math.isnan(found.r):
        return f"{name}.svg", f"{start}: no correlation, because {found.why}."
    return f"{name}.svg", (
        f"{start}: r = {found.r:.2f} (95 % interval {found.low:.2f} to {found.high:.2f}). Larger dots: several classes "
        "with the same values. Named are those farthest from the line."
    )


def curve(picture: Picture, measure: Measure, lines: Sequence[Line], axis: str) -> tuple[str, str]:
    """Means over a number, with ± sd where there are several seeds; (file, caption)."""
    name = f"{axis}-{measure.key}"
    places = [[getattr(point.facts, axis) for point in line.known(measure)] for line in lines]
    ticks = {place for known in places for place in known}
    with picture(name, 6.4, 4.0) as (_, axes):
        _points(axes, measure, lines, places)
        if min(ticks) > 0 and max(ticks) > 3 * min(ticks):
            axes.set_xscale("log")
        axes.set_xticks(_apart(ticks), [f"{tick:g}" for tick in _apart(ticks)], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_xlabel(AXES[axis])
    seeds = max(len(point.entries) for line in lines for point in line.points)
    over = " Means ± standard deviation over seeds." if seeds > 1 else " One model per dot."
    return f"{name}.svg", f"{_sentence(measure.text)} over {AXES[axis]}.{over}"


def architectures(picture: Picture, measure: Measure, lines: Sequence[Line]) -> tuple[str, str]:
    """One dot per recipe, by architecture; (file, caption)."""
    name = f"architecture-{measure.key}"
    names = list(dict.fromkeys(str(p.facts.architecture) for line in lines for p in line.known(measure)))
    places = []
    for number, line in enumerate(lines):
        shift = 0.5 * (number + 0.5) / len(lines) - 0.25
        places.append(_beside([names.index(str(p.facts.architecture)) + shift for p in line.known(measure)]))
    with picture(name, 6.4, 4.0) as (_, axes):
        _points(axes, measure, lines, places)
        turned = sum(len(each) for each in names) > 60
        axes.set_xticks(range(len(names)), [short_name(each) for each in names], rotation=30 if turned else 0)
        axes.set_xlim(-0.6, len(names) - 0.4)
    return f"{name}.svg", f"{_sentence(measure.text)} by architecture; one dot per recipe, ± sd over its seeds."


def _points(axes: Axes, measure: Measure, lines: Sequence[Line], places: Sequence[Sequence[float]]) -> None:
    """Every line's points that have a number, at these places, with ± sd over their seeds."""
    for number, (line, x) in enumerate(zip(lines, places, strict=True)):
        spread = [point.sd(measure) for point in line.known(measure)]
        axes.errorbar(
            x,
            [point.mean(measure) for point in line.known(measure)],
            yerr=None if np.isnan(spread).all() else np.nan_to_num(spread),
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            linestyle="-" if line.connected else "none",
            markersize=7,
            capsize=3,
            label=line.name or None,
        )
    axes.set_title(_sentence(measure.text), loc="left")
    low, high = axes.get_ylim()
    if low > 0 and low < 0.6 * high:
        axes.set_ylim(0, high)
    if any(line.name for line in lines):
        axes.legend(loc="best")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


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
