"""Pictures of the drawn world: shapes and textures for the source task, wheels and signs for the target.

Coordinates and lengths are shares of the picture's side, colours are (3,) from 0 to 255, pictures (size, size, 3).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SCALE = 3  # drawn so many times larger, then reduced: smooth edges

Field = NDArray[np.float64]
Colour = NDArray[np.float64]
Points = list[tuple[float, float]]
Rng = np.random.Generator


# --- the source world: one shape or one texture, in any colours ----------------------------------------------


def _two_colours(rng: Rng) -> tuple[Colour, Colour]:
    """Random colours whose brightness differs enough to be told apart."""
    weights = np.array([0.299, 0.587, 0.114])
    while True:
        first, second = rng.uniform(0, 255, (2, 3))
        if abs((first - second) @ weights) > 70:
            return first, second


def shape(rng: Rng, size: int, name: str) -> Field:
    """A cross, disc, ring, square or triangle on a plain ground."""
    back, front = _two_colours(rng)
    radius = rng.uniform(0.24, 0.40)
    centre = rng.uniform(radius + 0.04, 0.96 - radius, 2)
    turn = rng.uniform(0, 2 * np.pi)
    picture = _blobs(_backdrop(rng, size, back), rng, size)
    if name == "ring":
        mask, pen = _canvas(size)
        _circle(pen, size, centre, radius, 255)
        _circle(pen, size, centre, radius * rng.uniform(0.55, 0.75), 0)
        if rng.random() < 0.5:  # some have a hub
            _circle(pen, size, centre, radius * rng.uniform(0.1, 0.25), 255)
        return _laid(picture, _reduced(mask), front)
    # half of them have a rim of a third colour
    rim = front if rng.random() < 0.5 else rng.uniform(0, 255, 3)
    for share, colour in ((1.0, rim), (0.85, front)):
        mask, pen = _canvas(size)
        if name == "disc":
            _circle(pen, size, centre, radius * share, 255)
        else:
            _polygon(pen, size, centre, radius * share, turn, _OUTLINES[name], 255)
        picture = _laid(picture, _reduced(mask), colour)
    return picture


def texture(rng: Rng, size: int, name: str) -> Field:
    """A checker, dots, grid, rays, spiral, stripes or waves that fill the picture."""
    back, front = _two_colours(rng)
    x, y = _coordinates(size)
    turn = rng.uniform(0, 2 * np.pi)
    shift = rng.uniform(-1, 1, 2)
    u = x * np.cos(turn) + y * np.sin(turn) + shift[0]
    v = y * np.cos(turn) - x * np.sin(turn) + shift[1]
    if name in ("rays", "spiral"):
        u, v = x - 0.3 * shift[0], y - 0.3 * shift[1]
    height = _HEIGHTS[name](u, v, rng)
    return _laid(_backdrop(rng, size, back), np.clip(0.5 + 0.5 * height, 0, 1), front)


def _stripes(u: Field, v: Field, rng: Rng) -> Field:
    return 3 * np.sin(rng.uniform(9, 18) * u)


def _waves(u: Field, v: Field, rng: Rng) -> Field:
    bent = u + rng.uniform(0.14, 0.22) * np.sin(rng.uniform(5, 8) * v)
    return 3 * np.sin(rng.uniform(10, 16) * bent)


def _checker(u: Field, v: Field, rng: Rng) -> Field:
    frequency = rng.uniform(6, 11)
    return 8 * np.sin(frequency * u) * np.sin(frequency * v)


def _grid(u: Field, v: Field, rng: Rng) -> Field:
    frequency = rng.uniform(6, 11)
    return 7 * (np.maximum(np.cos(frequency * u), np.cos(frequency * v)) - 0.86)


def _dots(u: Field, v: Field, rng: Rng) -> Field:
    frequency = rng.uniform(9, 15)
    return 4 * (np.cos(frequency * u) + np.cos(frequency * v) - rng.uniform(0.7, 1.0))


def _rays(u: Field, v: Field, rng: Rng) -> Field:
    height: Field = 3 * np.sin(int(rng.integers(6, 11)) * np.arctan2(v, u) + rng.uniform(0, 2 * np.pi))
    return height


def _spiral(u: Field, v: Field, rng: Rng) -> Field:
    arms = int(rng.choice([-2, -1, 1, 2]))
    turn = rng.uniform(0, 2 * np.pi)
    height: Field = 3 * np.sin(rng.uniform(12, 18) * np.hypot(u, v) + arms * np.arctan2(v, u) + turn)
    return height


_HEIGHTS = {
    "checker": _checker,
    "dots": _dots,
    "grid": _grid,
    "rays": _rays,
    "spiral": _spiral,
    "stripes": _stripes,
    "waves": _waves,
}


def _cross_outline(width: float = 0.3) -> Points:
    """Twelve corners: the arms' outer corners and the four inner ones."""
    far, near = np.hypot(1, width), np.hypot(width, width)
    half = np.arctan2(width, 1)
    corners: Points = []
    for arm in range(4):
        angle = arm * np.pi / 2
        corners += [(angle - half, far), (angle + half, far), (angle + np.pi / 4, near)]
    return corners


_OUTLINES: dict[str, Points] = {
    "cross": _cross_outline(),
    "square": [(i * np.pi / 2, 1.0) for i in range(4)],
    "triangle": [(i * 2 * np.pi / 3, 1.0) for i in range(3)],
}
"""Corners as (angle, distance from the centre)."""


# --- the target task: wheels and signs, outdoors -------------------------------------------------------------


def wheel(rng: Rng, size: int) -> Field:
    """A tyre (a ring), a rim of another colour, thin spokes and a hub (a disc)."""
    picture = _outdoors(rng, size)
    radius = rng.uniform(0.26, 0.42)
    centre = rng.uniform(radius + 0.03, 0.97 - radius, 2)
    tyre = rng.uniform(15, 70, 1).repeat(3) + rng.uniform(0, 20, 3)
    if rng.random() < 0.5:  # a solid wheel
        mask, pen = _canvas(size)
        _circle(pen, size, centre, radius, 255)
        picture = _laid(picture, _reduced(mask), tyre)
        mask, pen = _canvas(size)
        _circle(pen, size, centre, radius * rng.uniform(0.07, 0.14), 255)
        return _laid(picture, _reduced(mask), rng.uniform(90, 150, 3))
    mask, pen = _canvas(size)
    _circle(pen, size, centre, radius, 255)
    _circle(pen, size, centre, radius * rng.uniform(0.6, 0.75), 0)
    picture = _laid(picture, _reduced(mask), tyre)
    mask, pen = _canvas(size)
    _spokes(pen, size, centre, radius * 0.7, rng)
    picture = _laid(picture, 0.35 * _reduced(mask), tyre)
    mask, pen = _canvas(size)
    _circle(pen, size, centre, radius * rng.uniform(0.1, 0.16), 255)
    return _laid(picture, _reduced(mask), tyre)


def sign(rng: Rng, size: int) -> Field:
    """A square or triangular plate with a thin rim."""
    picture = _outdoors(rng, size)
    radius = rng.uniform(0.30, 0.42)
    centre = np.array([rng.uniform(radius + 0.03, 0.97 - radius), rng.uniform(radius + 0.02, 0.92 - radius)])
    outline = _OUTLINES["square" if rng.random() < 0.5 else "triangle"]
    turn = rng.choice([0.25, 0.5, -0.5]) * np.pi + rng.normal(0, 0.12)
    rim, plate = rng.uniform((150, 0, 0), (230, 60, 60)), rng.uniform((200, 170, 40), (255, 230, 120))
    if rng.random() < 0.4:
        rim, plate = rng.uniform((10, 30, 120), (50, 90, 200)), rng.uniform((20, 50, 150), (70, 110, 230))
    for share, colour in ((1.0, rim), (0.93, plate)):
        mask, pen = _canvas(size)
        _polygon(pen, size, centre, radius * share, turn, outline, 255)
        picture = _laid(picture, _reduced(mask), colour)
    return picture


def _spokes(pen: ImageDraw.ImageDraw, size: int, centre: Field, radius: float, rng: Rng) -> None:
    count, turn, full = int(rng.integers(5, 9)), rng.uniform(0, np.pi), size * SCALE
    middle = centre * full
    for angle in turn + np.arange(count) * 2 * np.pi / count:
        end = middle + radius * full * np.array([np.cos(angle), np.sin(angle)])
        pen.line([(middle[0], middle[1]), (end[0], end[1])], fill=255, width=max(1, round(0.02 * full)))


def _outdoors(rng: Rng, size: int) -> Field:
    """Sky that fades into ground, with soft patches."""
    _, y = _coordinates(size)
    sky = rng.uniform((130, 170, 190), (210, 230, 255))
    ground = rng.uniform((110, 120, 80), (190, 190, 150))
    slope = np.clip(0.5 + (y - rng.uniform(0.0, 0.6)) * rng.uniform(0.6, 1.2), 0, 1)
    return _blobs(sky + slope[..., None] * (ground - sky), rng, size)


def _blobs(picture: Field, rng: Rng, size: int) -> Field:
    """One to three soft patches of light or colour: clutter without edges."""
    x, y = _coordinates(size)
    for _ in range(rng.integers(1, 4)):
        near = np.exp(-((x - rng.uniform(-1, 1)) ** 2 + (y - rng.uniform(-1, 1)) ** 2) / rng.uniform(0.05, 0.25))
        picture = picture + near[..., None] * rng.uniform(-45, 30, 3)
    return picture


# --- drawing -------------------------------------------------------------------------------------------------


@cache
def _coordinates(size: int) -> tuple[Field, Field]:
    """(x, y) of every pixel's centre, from -1 to 1."""
    along = (np.arange(size) + 0.5) / size * 2 - 1
    return np.broadcast_to(along, (size, size)), np.broadcast_to(along[:, None], (size, size))


def _backdrop(rng: Rng, size: int, colour: Colour) -> Field:
    """One colour, slightly brighter to one side."""
    x, y = _coordinates(size)
    turn, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 30)
    picture: Field = colour + (strength * (x * np.cos(turn) + y * np.sin(turn)))[..., None]
    return picture


def _laid(picture: Field, cover: Field, colour: Colour) -> Field:
    """The colour laid over the picture where `cover` (size, size) is 1."""
    return picture + cover[..., None] * (colour - picture)


def _canvas(size: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    mask = Image.new("L", (size * SCALE, size * SCALE))
    return mask, ImageDraw.Draw(mask)


def _reduced(mask: Image.Image) -> Field:
    return np.asarray(mask.reduce(SCALE), dtype=np.float64) / 255


def _circle(pen: ImageDraw.ImageDraw, size: int, centre: Field, radius: float, fill: int) -> None:
    low, high = (centre - radius) * size * SCALE, (centre + radius) * size * SCALE
    pen.ellipse([low[0], low[1], high[0], high[1]], fill=fill)


def _polygon(
    pen: ImageDraw.ImageDraw, size: int, centre: Field, radius: float, turn: float, outline: Points, fill: int
) -> None:
    full = size * SCALE
    corners = [
        (
            float(centre[0] + radius * far * np.cos(angle + turn)) * full,
            float(centre[1] + radius * far * np.sin(angle + turn)) * full,
        )
        for angle, far in outline
    ]
    pen.polygon(corners, fill=fill)
