"""Pictures of a sweep's table: one metric against another, and a metric along what the grid changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from transferkit.analysis.drawings import curves, legend_above, name_points
from transferkit.analysis.plots import COLOURS, SOFT, picture
from transferkit.report import Metric
from transferkit.sweeps.table import SweepTable

SCALE = {"share": 100.0, "points": 100.0}


def draw_pareto(path: Path, table: SweepTable, x: str, y: str) -> list[str]:
    """Write the SVG file: a point with both intervals per method; the line goes through those that no method beats in
    both. The names of these.
    """
    known = {
        method: (row[x].mean, row[y].mean)
        for method, row in table.rows.items()
        if x in row and y in row and not math.isnan(row[x].mean.value + row[y].mean.value)
    }
    points = {method: (a.value, b.value) for method, (a, b) in known.items()}
    front = undominated(points, table.metrics[x], table.metrics[y])
    across, up = (SCALE.get(table.metrics[key].unit, 1.0) for key in (x, y))
    with picture(path, 6.4, 4.6) as (_, axes):
        for method, (a, b) in known.items():
            colour = COLOURS[0] if method in front else SOFT
            axes.errorbar(
                across * a.value, up * b.value, xerr=_whiskers(a.value, a.low, a.high, across),
                yerr=_whiskers(b.value, b.low, b.high, up), fmt="o", color=colour, elinewidth=0.8, markersize=5,
            )  # fmt: skip
        line = sorted((across * points[method][0], up * points[method][1]) for method in front)
        axes.plot(*zip(*line, strict=True), color=COLOURS[0], linewidth=1, linestyle="--")
        axes.set_xlabel(_title(table.metrics[x]))
        axes.set_ylabel(_title(table.metrics[y]))
        places = {method: (across * a, up * b) for method, (a, b) in points.items()}
        ordered = [*front, *(method for method in points if method not in front)]
        spots = [places[method] for method in ordered]
        axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # as they are: names are placed by them
        name_points(axes, spots, ordered, most=12, dots=spots)
    return front


def _whiskers(value: float, low: float, high: float, scale: float) -> list[list[float]] | None:
    return None if math.isnan(low) else [[scale * (value - low)], [scale * (high - value)]]


def undominated(points: dict[str, tuple[float, float]], x: Metric, y: Metric) -> list[str]:
    """The methods of which none is at least as good in both and better in one; "neither" counts as more is better."""

    def good(method: str) -> tuple[float, float]:
        a, b = points[method]
        return (-a if x.more == "worse" else a), (-b if y.more == "worse" else b)

    return [
        one
        for one in points
        if not any(
            good(other) != good(one) and all(p >= q for p, q in zip(good(other), good(one), strict=True))
            for other in points
        )
    ]


def draw_along(path: Path, table: SweepTable, key: str, metric: str) -> bool:
    """Write the SVG file of a metric along a numeric key of the grid, a curve per combination of the others; whether
    there is anything to draw.
    """
    lines: dict[str, list[tuple[float, float]]] = {}
    for method, settings in table.settings.items():
        value = settings.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and metric in table.rows[method]:
            others = ", ".join(part for part in method.split(", ") if not part.startswith(f"{key.split('.')[-1]}="))
            lines.setdefault(others or key, []).append((float(value), table.rows[method][metric].mean.value))
    drawn = {name: tuple(zip(*sorted(points), strict=True)) for name, points in lines.items() if len(points) > 1}
    if not drawn:
        return False
    scale = SCALE.get(table.metrics[metric].unit, 1.0)
    with picture(path) as (_, axes):
        curves(axes, {name: (xs, [scale * one for one in ys]) for name, (xs, ys) in drawn.items()}, marker="o")
        axes.set_xlabel(key)
        axes.set_ylabel(_title(table.metrics[metric]))
        legend_above(axes)
    return True


def numeric_keys(table: SweepTable) -> list[str]:
    """The keys along which several numbers were tried."""
    keys = dict.fromkeys(key for settings in table.settings.values() for key in settings)
    return [key for key in keys if len(_numbers(table, key)) > 1]


def _numbers(table: SweepTable, key: str) -> set[float]:
    found: Sequence[object] = [settings.get(key) for settings in table.settings.values()]
    return {float(one) for one in found if isinstance(one, int | float) and not isinstance(one, bool)}


def _title(metric: Metric) -> str:
    unit = {"share": " (%)", "points": " (points)"}.get(metric.unit, "")
    return metric.name + unit + {"better": " →", "worse": " (less is better)"}.get(metric.more, "")
