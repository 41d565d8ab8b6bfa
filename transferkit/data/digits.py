"""Drawn digits for the quick runs of experiments on handwritten ones: the figures of Pillow's own font, jittered.

Grey, bright on dark. No file and no download; the shapes are those of the installed Pillow's built-in typeface.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transferkit.errors import InputError

CLASSES = tuple("0123456789")
SCALE = 3  # drawn so many times larger, then reduced: smooth edges
HEIGHT = (0.65, 1.0)  # of the letters, as a share of the picture's side; figures are about 0.7 of it
TURN = 15.0  # degrees to either side
SHIFT = 0.1  # of the centre, at most, as a share of the side; less where a figure would touch the border
STROKE = 0.035  # extra thickness, at most, as a share of the side
NOISE = (4.0, 24.0)  # standard deviation of the grey noise

Field = NDArray[np.float64]
Rng = np.random.Generator


def digit(rng: Rng, size: int, name: str) -> Field:
    """A figure (size, size, 3) from 0 to 255, its three channels equal: height, thickness, turn, place, greys and
    noise are drawn from `rng`, in this order. Raises InputError where Pillow was built without its font engine.
    """
    full = size * SCALE
    height = round(rng.uniform(*HEIGHT) * full)
    stroke = round(rng.uniform(0, STROKE) * full)
    turn = rng.uniform(-TURN, TURN)
    shift = rng.uniform(-SHIFT, SHIFT, 2) * full
    ground, ink = rng.uniform(0, 40), rng.uniform(170, 255)
    cover = _figure(full, name, height, stroke, turn, shift)
    noise = rng.standard_normal((size, size)) * rng.uniform(*NOISE)
    picture: Field = np.clip(ground + cover * (ink - ground) + noise, 0, 255)[..., None].repeat(3, axis=2)
    return picture


def _figure(full: int, name: str, height: int, stroke: int, turn: float, shift: Field) -> Field:
    """The figure's cover, from 0 to 1, at the reduced size; wholly inside."""
    mask = Image.new("L", (full, full))
    pen, font = ImageDraw.Draw(mask), _font(height)
    left, top, right, bottom = pen.textbbox((0, 0), name, font=font, stroke_width=stroke)
    half = np.array([right - left, bottom - top]) / 2
    sine, cosine = np.sin(np.deg2rad(abs(turn))), np.cos(np.deg2rad(turn))
    room = full / 2 - 2 * SCALE - (half * cosine + half[::-1] * sine)
    middle = full / 2 + np.clip(shift, -np.maximum(room, 0), np.maximum(room, 0))
    corner = middle - half - (left, top)
    pen.text((corner[0], corner[1]), name, fill=255, font=font, stroke_width=stroke)
    turned = mask.rotate(turn, Image.Resampling.BILINEAR, center=(middle[0], middle[1]))
    return np.asarray(turned.reduce(SCALE), dtype=np.float64) / 255


@cache
def _font(height: int) -> ImageFont.FreeTypeFont:
    try:
        font = ImageFont.load_default(size=height)
    except ImportError as error:
        raise InputError(f"world: digits are drawn with Pillow's font engine, which is missing here: {error}") from None
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
