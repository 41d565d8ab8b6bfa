"""Line charts and confusion matrices as inline SVG.

Drawn by hand rather than by a plotting library: the colours come from the page (so they follow dark mode and
print), text stays text, and the same numbers always give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

WIDTH, HEIGHT = 380, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 34
COLOURS = 8
MATRIX_CELLS = 20_000

Point = tuple[float, float | None]
Format = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """A named line; a None value is a gap. `colour` is an index into the page's palette."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    dashed: bool = False

    def values(self) -> list[tuple[float, float]]:
        """The points that have a finite value."""
        return [(x, y) for x, y in self.points if y is not None and math.isfinite(y)]


@dataclass(frozen=True)
class Axis:
    """One axis: its ends in data units, its ticks, and where a value lies between 0 and 1."""

    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    def place(self, value: float) -> float:
        """The position of a value between the ends, 0..1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def nice_step(span: float, count: int) -> float:
    """The step of 1, 2 or 5 times a power of ten that cuts the span into at most about `count` parts."""
    raw = span / max(count, 1)
    power: float = 10.0 ** math.floor(math.log10(raw))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def linear_axis(values: Sequence[float], *, count: int = 5, zero: bool = False) -> Axis:
    """An axis that holds the values and ends on ticks; `zero` makes it start at zero if all are positive."""
    low, high = min(values), max(values)
    if zero and low > 0:
        low = 0.0
    if high - low <= 1e-12 * max(abs(high), abs(low), 1e-300):
        pad = abs(high) / 10 or 1.0
        low, high = low - pad, high + pad
    step = nice_step(high - low, count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(i * step, 12) for i in range(first, last + 1)]
    return Axis(ticks[0], ticks[-1], ticks)


def log_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis over the positive values, with ticks at powers of ten."""
    positive = [value for value in values if value > 0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    if low == high:
        low, high = low - 1, high + 1
    every = max(1, math.ceil((high - low) / 5))
    ticks = [10.0**power for power in range(low, high + 1, every)]
    return Axis(10.0**low, 10.0**high, ticks, log=True)


def is_spread(values: Sequence[float], ratio: float = 50) -> bool:
    """Whether positive values span so wide a range that a linear axis would hide the small ones."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) > ratio * min(positive)


def short(value: float) -> str:
    """A tick label: 0.25, 1200, 1e-5."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def as_percent(value: float) -> str:
    """A tick label for a fraction: 85 %."""
    return f"{100 * value:.4g} %"


def line_chart(
    series: Sequence[Series], *, label: str, y_format: Format = short, log: bool = False, zero: bool = False
) -> str:
    """One chart over epochs as an SVG element; an empty string when there is no finite value to draw.

    `label` says what the chart shows, for those who cannot see it.
    """
    drawn = [(one, [p for p in one.values() if p[1] > 0 or not log]) for one in series]
    xs = [x for _, points in drawn for x, _ in points]
    ys = [y for _, points in drawn for _, y in points]
    if not ys:
        return ""
    x_axis = _epoch_axis(xs)
    y_axis = log_axis(ys) if log else linear_axis(ys, zero=zero)
    parts = [_frame(x_axis, y_axis, y_format), *(_line(one, points, x_axis, y_axis) for one, points in drawn)]
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
    return head + "".join(parts) + "</svg>"


def _epoch_axis(xs: Sequence[float]) -> Axis:
    """From the first to the last epoch, with whole-numbered ticks."""
    low, high = min(xs), max(xs)
    if low == high:
        return Axis(low - 1, high + 1, [low])
    step = max(1.0, nice_step(high - low, 6))
    ticks = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return Axis(low, high, ticks)


def _x(axis: Axis, value: float) -> float:
    return LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM)


def _frame(x_axis: Axis, y_axis: Axis, y_format: Format) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in y_axis.ticks:
        y = _y(y_axis, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{y_format(tick)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    for tick in x_axis.ticks:
        x = _x(x_axis, tick)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{short(tick)}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text class="tick" x="{middle:.1f}" y="{HEIGHT - 3}" text-anchor="middle">epoch</text>')
    return "".join(parts)


def _line(one: Series, points: Sequence[tuple[float, float]], x_axis: Axis, y_axis: Axis) -> str:
    places = [f"{_x(x_axis, x):.1f},{_y(y_axis, y):.1f}" for x, y in points]
    if not places:
        return ""
    style = f"c{one.colour % COLOURS}"
    if len(places) == 1:
        x, y = places[0].split(",")
        return f'<circle class="dot {style}" cx="{x}" cy="{y}" r="3"/>'
    dash = ' stroke-dasharray="5 3"' if one.dashed else ""
    return f'<polyline class="line {style}" points="{" ".join(places)}"{dash}/>'


def confusion_matrix(
    matrix: Sequence[Sequence[float]], classes: Sequence[str], links: Mapping[tuple[int, int], str] | None = None
) -> str:
    """The matrix as an SVG element: rows are true classes, shades grow with the root of the share of the row.

    Up to twelve classes carry names and counts; larger matrices are shades alone, and one with more than
    `MATRIX_CELLS` filled cells gives an empty string. `links` are {(row, column): anchor} of cells that lead there.
    """
    links = links or {}
    size = len(matrix)
    if size == 0 or sum(1 for row in matrix for count in row if count) > MATRIX_CELLS:
        return ""
    named = size <= 12
    cell = max(34.0, 200 / size) if named else max(2.0, 340 / size)
    left = min(130.0, 12 + 6.2 * max(len(name) for name in classes)) if named else 16.0
    top = 16.0
    side = size * cell
    width, height = left + side + 2, top + side + (24 if named else 4)
    parts = [
        _linked(_cell(matrix, i, j, left + j * cell, top + i * cell, cell, named), links.get((i, j)), classes, i, j)
        for i in range(size)
        for j in range(size)
    ]
    parts.append(f'<rect class="outline" x="{left:.1f}" y="{top:.1f}" width="{side:.1f}" height="{side:.1f}"/>')
    parts.append(f'<text class="tick" x="{left + side / 2:.1f}" y="11" text-anchor="middle">predicted</text>')
    if named:
        parts += [_class_labels(classes[i], i, left, top, cell, size) for i in range(size)]
    shape = f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{max(width, 260) * 1.15:.0f}px"'
    role = "group" if links else "img"  # an image has nothing in it to follow
    return f'<svg class="chart matrix" {shape} role="{role}" aria-label="Confusion matrix">{"".join(parts)}</svg>'


def _linked(cell: str, anchor: str | None, classes: Sequence[str], i: int, j: int) -> str:
    """A cell that leads to its pictures."""
    if not anchor or not cell:
        return cell
    said = f"pictures of {classes[i]}" + (f" taken for {classes[j]}" if i != j else " that it barely gets right")
    return f'<a href="#{quote(anchor)}" aria-label="{escape(said)}">{cell}</a>'


def _cell(matrix: Sequence[Sequence[float]], i: int, j: int, x: float, y: float, cell: float, named: bool) -> str:
    count = matrix[i][j]
    share = math.sqrt(count / (sum(matrix[i]) or 1))  # the root keeps rare mistakes visible
    style = "hit" if i == j else "miss"
    place = f'x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}"'
    shade = f'<rect class="{style}" {place} opacity="{share:.3f}"/>'
    if not named:
        return shade if count else ""
    text = "on" if share > 0.7 else "off"
    middle = f'x="{x + cell / 2:.1f}" y="{y + cell / 2 + 4:.1f}" text-anchor="middle"'
    return (shade if count else "") + f'<text class="count {text}" {middle}>{count:g}</text>'


def _class_labels(name: str, i: int, left: float, top: float, cell: float, size: int) -> str:
    """The name of a class at its row and, cut to the cell, under its column."""
    row_y, column_x = top + i * cell + cell / 2 + 4, left + i * cell + cell / 2
    row = _cut(name, 19)
    column = _cut(name, max(3, int(cell / 6)))
    return (
        f'<text class="tick" x="{left - 6:.1f}" y="{row_y:.1f}" text-anchor="end">{escape(row)}</text>'
        f'<text class="tick" x="{column_x:.1f}" y="{top + size * cell + 14:.1f}" text-anchor="middle">'
        f"{escape(column)}</text>"
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
