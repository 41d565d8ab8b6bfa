"""The ball itself, drawn large and made small, so that its edge is as smooth as its pixels allow."""

from __future__ import annotations

from PIL import Image, ImageDraw

FELT = (204, 255, 0)
SEAM = (255, 255, 255)
FINER = 16


def draw_ball(size: int) -> Image.Image:
    """An RGBA picture of `size` x `size` pixels: a yellow-green disc that fills it, with the white seam.

    The alpha of a pixel is the share of it that the disc covers. Raises ValueError for a size below 1.
    """
    if size < 1:
        raise ValueError(f"draw_ball: a ball has at least 1 pixel, not {size}")
    large = FINER * size
    ball = Image.new("RGB", (large, large), FELT)
    pen = ImageDraw.Draw(ball)
    far = round(0.72 * large)
    for left in (-far, far):  # two circles beside the ball, whose arcs inside it are the seam
        pen.ellipse((left, 0, left + large - 1, large - 1), outline=SEAM, width=max(1, round(0.08 * large)))
    inside = Image.new("L", (large, large), 0)
    ImageDraw.Draw(inside).ellipse((0, 0, large - 1, large - 1), fill=255)
    picture = ball.reduce(FINER)
    picture.putalpha(inside.reduce(FINER))
    return picture
