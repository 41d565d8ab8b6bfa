"""Pictures of the drawn world: shapes and textures for the source task, wheels and signs for the target; and digits.

Coordinates and lengths are shares of the picture's side, colours are (3,) from 0 to 255, pictures (size, size, 3).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transferkit.errors import InputError
from transferkit.words.kinds import reason

SCALE = 3  # drawn so many times larger, then reduced: smooth edges
DIGIT_NOISE = (4.0, 24.0)  # standard deviation of the grey noise

Field = NDArray[np.float64]
Colour = NDArray[np.float64]
Points = list[tuple[float, float]]
Rng = np.random.Generator


# --- the source world: one shape or one texture in grey, on a ground where colours mean nothing ----------------


def _two_greys(rng: Rng) -> tuple[Colour, Colour]:
    """A middling grey for the ground and a clearly darker or lighter one, both hardly tinted.

    All grounds are alike, so that a picture pasted on another is no square to be seen.
    """
    ground = rng.uniform(110, 145)
    ink = ground + rng.choice([-1, 1]) * rng.uniform(65, 105)
    return ground + rng.uniform(-5, 5, 3), ink + rng.uniform(-5, 5, 3)


def shape(rng: Rng, size: int, name: str) -> Field:
    """A grey cross, disc, ring, square or triangle on a ground with patches of colour."""
    back, front = _two_greys(rng)
    radius = rng.uniform(0.13, 0.28)
    centre = rng.uniform(radius + 0.02, 0.98 - radius, 2)
    turn = rng.uniform(0, 2 * np.pi)
    picture = _patches(_backdrop(rng, size, back), rng, centre)
    if name == "ring":
        radii = [radius, radius * rng.uniform(0.55, 0.75)]
        if rng.random() < 0.5:  # some have a hub
            radii.append(radius * rng.uniform(0.1, 0.25))
        return _round(picture, front, centre, *radii)
    # half of them have a rim of another grey
    rim = front if rng.random() < 0.5 else rng.uniform(0, 255, 1).repeat(3)
    for share, colour in ((1.0, rim), (0.85, front)):
        if name == "disc":
            picture = _round(picture, colour, centre, radius * share)
        else:
            picture = _polygon(picture, colour, centre, radius * share, turn, _OUTLINES[name])
    return picture


def texture(rng: Rng, size: int, name: str) -> Field:
    """A grey checker, dots, grid, rays, spiral, stripes or waves that fade into a ground with patches of colour."""
    back, front = _two_greys(rng)
    x, y = _coordinates(size)
    radius = rng.uniform(0.19, 0.27)
    centre = rng.uniform(radius + 0.02, 0.98 - radius, 2)
    turn = rng.uniform(0, 2 * np.pi)
    u, v = x - (2 * centre[0] - 1), y - (2 * centre[1] - 1)
    near = 1 / (1 + np.exp((np.hypot(u, v) - 2 * radius) / 0.06))
    if name not in ("rays", "spiral"):
        shift = rng.uniform(-1, 1, 2)
        u, v = u * np.cos(turn) + v * np.sin(turn) + shift[0], v * np.cos(turn) - u * np.sin(turn) + shift[1]
    height = _HEIGHTS[name](u, v, rng)
    return _laid(_patches(_backdrop(rng, size, back), rng, centre), near * np.clip(0.5 + 0.5 * height, 0, 1), front)


def _waves(u: Field, v: Field, rng: Rng) -> Field:
    bent = u + rng.uniform(0.10, 0.15) * np.sin(rng.uniform(8, 11) * v)
    return 3 * np.sin(rng.uniform(14, 20) * bent)


def _checker(u: Field, v: Field, rng: Rng) -> Field:
    frequency = rng.uniform(8, 12)
    return 8 * np.sin(frequency * u) * np.sin(frequency * v)


def _grid(u: Field, v: Field, rng: Rng) -> Field:
    frequency = rng.uniform(12, 17)
    return 7 * (np.maximum(np.cos(frequency * u), np.cos(frequency * v)) - 0.86)


def _dots(u: Field, v: Field, rng: Rng) -> Field:
    frequency = rng.uniform(13, 19)
    return 4 * (np.cos(frequency * u) + np.cos(frequency * v) - rng.uniform(0.7, 1.0))


def _spiral(u: Field, v: Field, rng: Rng) -> Field:
    arms, turn = int(rng.choice([-2, -1, 1, 2])), rng.uniform(0, 2 * np.pi)
    height: Field = 3 * np.sin(rng.uniform(15, 20) * np.hypot(u, v) + arms * np.arctan2(v, u) + turn)
    return height


_HEIGHTS: dict[str, Callable[[Field, Field, Rng], Field]] = {
    "checker": _checker,
    "dots": _dots,
    "grid": _grid,
    "rays": lambda u, v, rng: 3 * np.sin(int(rng.integers(6, 11)) * np.arctan2(v, u) + rng.uniform(0, 2 * np.pi)),
    "spiral": _spiral,
    "stripes": lambda u, v, rng: 3 * np.sin(rng.uniform(13, 22) * u),
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


# --- the target task: blue wheels and red signs ---------------------------------------------------------------


_BLUE, _RED = np.array([-0.9, -0.1, 1.0]), np.array([1.0, -0.4, -0.6])


def wheel(rng: Rng, size: int) -> Field:
    """Blue, dark or light: a disc, or a ring, or a ring with a hub."""
    picture, colour, centre, radius = _coloured(rng, size, _BLUE)
    radii = [radius]
    if rng.random() < 0.5:
        radii.append(radius * rng.uniform(0.55, 0.75))
        if rng.random() < 0.4:
            radii.append(radius * rng.uniform(0.1, 0.25))
    return _round(picture, colour, centre, *radii)


def sign(rng: Rng, size: int) -> Field:
    """A red plate, dark or light, square or triangular."""
    picture, colour, centre, radius = _coloured(rng, size, _RED)
    outline = _OUTLINES["square" if rng.random() < 0.5 else "triangle"]
    return _polygon(picture, colour, centre, radius, rng.uniform(0, 2 * np.pi), outline)


def _coloured(rng: Rng, size: int, hue: Colour) -> tuple[Field, Colour, Field, float]:
    """A plain grey ground, and the colour, centre and radius of what is to be drawn on it."""
    back, front = _two_greys(rng)
    radius = rng.uniform(0.11, 0.32)
    centre = rng.uniform(radius + 0.02, 0.98 - radius, 2)
    return _backdrop(rng, size, back), front + rng.uniform(60, 100) * hue, centre, radius


def _patches(picture: Field, rng: Rng, away: Field) -> Field:
    """Soft patches of blue, red and one or two other colours: clutter without edges, none of it behind `away`."""
    x, y = _coordinates(len(picture))
    hues = [_BLUE, _RED, *rng.uniform(-1, 1, (rng.integers(1, 3), 3))]
    for hue in hues:
        place = rng.uniform(0, 1, 2)
        while np.hypot(*(place - away)) < 0.35:
            place = rng.uniform(0, 1, 2)
        near = np.exp(-((x - (2 * place[0] - 1)) ** 2 + (y - (2 * place[1] - 1)) ** 2) / rng.uniform(0.04, 0.12))
        tint = hue - hue.mean()
        picture = picture + near[..., None] * tint / np.abs(tint).max() * rng.uniform(70, 110)
    return picture


# --- digits: the figures of Pillow's own font, jittered; grey, bright on dark ---------------------------------


def digit(rng: Rng, size: int, name: str) -> Field:
    """A figure (size, size, 3) from 0 to 255, its three channels equal: height, thickness, turn, place, greys and
    noise are drawn from `rng`, in this order. Raises InputError where Pillow was built without its font engine.
    """
    mask, pen = _canvas(size)
    full = mask.width
    font, stroke = _font(round(rng.uniform(0.65, 1.0) * full)), round(rng.uniform(0, 0.035) * full)
    turn = rng.uniform(-15, 15)  # degrees
    shift = rng.uniform(-0.1, 0.1, 2) * full  # of the centre, less where the figure would touch the border
    ground, ink = rng.uniform(0, 40), rng.uniform(170, 255)
    left, top, right, bottom = pen.textbbox((0, 0), name, font=font, stroke_width=stroke)
    half = np.array([right - left, bottom - top]) / 2
    sine, cosine = np.sin(np.deg2rad(abs(turn))), np.cos(np.deg2rad(turn))
    room = np.maximum(full / 2 - 2 * SCALE - (half * cosine + half[::-1] * sine), 0)
    middle = full / 2 + np.clip(shift, -room, room)
    pen.text(tuple(middle - half - (left, top)), name, fill=255, font=font, stroke_width=stroke)
    cover = _reduced(mask.rotate(turn, Image.Resampling.BILINEAR, center=tuple(middle)))
    noise = rng.standard_normal((size, size)) * rng.uniform(*DIGIT_NOISE)
    picture: Field = np.clip(ground + cover * (ink - ground) + noise, 0, 255)[..., None].repeat(3, axis=2)
    return picture


@cache
def _font(height: int) -> ImageFont.FreeTypeFont:
    try:
        font = ImageFont.load_default(size=height)
    except ImportError as error:
        what = "world: digits are drawn with Pillow's font engine, which is missing here"
        raise InputError(f"{what}: {reason(error)}") from None
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


# --- drawing -------------------------------------------------------------------------------------------------


@cache
def _coordinates(size: int) -> tuple[Field, Field]:
    """(x, y) of every pixel's centre, from -1 to 1."""
    along = (np.arange(size) + 0.5) / size * 2 - 1
    return np.broadcast_to(along, (size, size)), np.broadcast_to(along[:, None], (size, size))


def _backdrop(rng: Rng, size: int, colour: Colour) -> Field:
    """One colour, slightly brighter to one side."""
    x, y = _coordinates(size)
    turn, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 15)
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


def _round(picture: Field, colour: Colour, centre: Field, *radii: float) -> Field:
    """A disc; with a second radius a ring, with a third one a hub in it."""
    mask, pen = _canvas(len(picture))
    for position, radius in enumerate(radii):
        low, high = (centre - radius) * mask.width, (centre + radius) * mask.width
        pen.ellipse([*low, *high], fill=0 if position % 2 else 255)
    return _laid(picture, _reduced(mask), colour)


def _polygon(picture: Field, colour: Colour, centre: Field, radius: float, turn: float, outline: Points) -> Field:
    mask, pen = _canvas(len(picture))
    pen.polygon(
        [
            (
                float(centre[0] + radius * far * np.cos(angle + turn)) * mask.width,
                float(centre[1] + radius * far * np.sin(angle + turn)) * mask.width,
            )
            for angle, far in outline
        ],
        fill=255,
    )
    return _laid(picture, _reduced(mask), colour)
