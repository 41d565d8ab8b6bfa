"""Drawings that analyses share, into the axes of `session.picture`: values come as numbers or as Estimates.

Whatever is an Estimate has whiskers to the ends of its interval, where it has one. NaN is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.analysis.plots import COLOURS, GRID, SIZE, SOFT, short_name
from transferkit.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Floats = NDArray[np.float64]
    Values = Iterable[float | Estimate]

ROOM = 0.8  # of the distance between two groups
TICKS = 20  # names along an axis of a heat map


def grouped_bars(
    axes: Axes,
    groups: Sequence[str],
    series: Mapping[str, Values],
    *,
    colours: Sequence[str] = COLOURS,
    scale: float = 1.0,
) -> dict[str, Floats]:
    """Bars of every series beside each other, one per group; {series: (groups,) the middles of its bars}."""
    width = ROOM / max(len(series), 1)
    middles: dict[str, Floats] = {}
    for number, (name, values) in enumerate(series.items()):
        heights, whiskers = _with_whiskers(values, scale)
        x = np.arange(len(groups), dtype=np.float64) + width * (number - (len(series) - 1) / 2)
        axes.bar(x, heights, width=0.95 * width, color=colours[number % len(colours)], label=name)
        if not np.isnan(whiskers).all():
            axes.errorbar(x, heights, yerr=whiskers, fmt="none", ecolor=SOFT, elinewidth=1.2, capsize=3)
        middles[name] = x
    axes.set_xticks(np.arange(len(groups)), groups)
    return middles


def dots(
    axes: Axes,
    places: ArrayLike,
    values: Values,
    *,
    colour: str,
    label: str | None = None,
    marker: str = "o",
    scale: float = 1.0,
    horizontal: bool = False,
) -> None:
    """One dot per place, over the first axis, or over the second one with `horizontal`."""
    centres, whiskers = _with_whiskers(values, scale)
    known = ~np.isnan(centres)
    spots, centres, whiskers = np.asarray(places, dtype=np.float64)[known], centres[known], whiskers[:, known]
    ends = None if np.isnan(whiskers).all() else np.nan_to_num(whiskers)
    x, y, xerr, yerr = (centres, spots, ends, None) if horizontal else (spots, centres, None, ends)
    axes.errorbar(
        x, y, yerr, xerr, fmt=marker, color=colour, markersize=7, elinewidth=1.5, capsize=3, label=label
    )  # fmt: skip


def agreement(
    axes: Axes,
    x: ArrayLike,
    y: ArrayLike,
    *,
    colour: str,
    label: str | None = None,
    limits: tuple[float, float] | None = None,
    diagonal: bool = True,
) -> None:
    """What two models say of the same things, (n,) and (n,): one dot each, on axes of one scale, with the diagonal.

    Things with the same two values share a dot, whose area grows with their number. `limits` are those of both axes;
    by default as far as the values go.
    """
    pairs = np.stack([np.asarray(side, dtype=np.float64) for side in (x, y)])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    spots, times = np.unique(pairs.round(9), axis=1, return_counts=True)
    low, high = limits or ((float(spots.min()), float(spots.max())) if spots.size else (0.0, 1.0))
    margin = 0.06 * ((high - low) or 1.0)
    if diagonal:
        axes.plot([low, high], [low, high], color=SOFT, linewidth=1, linestyle="--")
    axes.scatter(spots[0], spots[1], s=30 * times**0.75, color=colour, alpha=0.7, linewidths=0, label=label)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.set_aspect("equal")
    axes.grid(color=GRID, linewidth=0.8)


def name_points(
    axes: Axes,
    places: Sequence[tuple[float, float]],
    names: Sequence[str],
    most: int = 10,
    dots: Sequence[tuple[float, float]] = (),
) -> None:
    """Write names right or left of points, the first ones first, where they are free of each other and of `dots`.

    `places` are (x, y) of (n,) points, `names` those of the classes that they stand for. After the limits are set.
    """
    size, scale = SIZE - 3.5, axes.figure.dpi / 72
    width_of, height, gap, radius = 0.62 * size * scale, 1.15 * size * scale, 6 * scale, 2.5 * scale
    bounds = axes.get_window_extent()
    spots = axes.transData.transform(dots) if len(dots) else ()
    taken = [(x - radius, y - radius, x + radius, y + radius) for x, y in spots]
    written = 0
    for (x, y), name in zip(places, names, strict=True):
        at, middle = axes.transData.transform((x, y))
        for side, align in ((1, "left"), (-1, "right")):
            near, far = at + side * gap, at + side * (gap + width_of * len(name))
            box = (min(near, far), middle - height / 2, max(near, far), middle + height / 2)
            inside = bounds.x0 <= box[0] and box[2] <= bounds.x1
            if inside and all(box[0] > b[2] or box[2] < b[0] or box[1] > b[3] or box[3] < b[1] for b in taken):
                shift = (6 * side, 0)
                axes.annotate(
                    name, (x, y), xytext=shift, textcoords="offset points", va="center", ha=align, size=size, color=SOFT
                )
                taken.append(box)
                written += 1
                break
        if written == most:
            return


def curves(
    axes: Axes, lines: Mapping[str, tuple[ArrayLike, ArrayLike]], *, colours: Sequence[str] = COLOURS, **style: Any
) -> None:
    """One line per name through its points (x, y); NaN interrupts it. `style` is matplotlib's, the same for all."""
    for number, (name, (x, y)) in enumerate(lines.items()):
        axes.plot(x, y, color=colours[number % len(colours)], label=short_name(name, 40), **style)


def heat(
    axes: Axes,
    values: ArrayLike,
    *,
    label: str,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    colours: str = "viridis",
) -> None:
    """A map of (rows, columns) values, the first row on top, with a scale called `label`; NaN is grey.

    Of many names every so manieth is written.
    """
    fields = np.ma.masked_invalid(np.asarray(values, dtype=np.float64))
    axes.grid(visible=False)
    axes.set_facecolor(GRID)
    drawn = axes.imshow(fields, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    for axis, names in ((axes.xaxis, columns), (axes.yaxis, rows)):
        step = max(1, math.ceil(len(names) / TICKS))
        axis.set_ticks(range(0, len(names), step), [short_name(name, 18) for name in names[::step]])
    axes.tick_params(length=0)
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(drawn, ax=axes, label=label)


def legend_above(axes: Axes, columns: int = 2) -> None:
    """The legend over the axes, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, columnspacing=1.2)


def _with_whiskers(values: Values, scale: float) -> tuple[Floats, Floats]:
    """(n,) values and (2, n) how far their intervals reach below and above; NaN where there is none."""
    found = [one if isinstance(one, Estimate) else Estimate(float(one)) for one in values]
    ends = np.array([(one.value, one.low, one.high) for one in found], dtype=np.float64).reshape(-1, 3).T * scale
    whiskers: Floats = np.clip(np.stack([ends[0] - ends[1], ends[2] - ends[0]]), 0, None)
    return ends[0], whiskers
