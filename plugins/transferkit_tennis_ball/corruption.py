"""A ball, or a picture of one's own, pasted at a place drawn once per image (paper 004)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from transferkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

NAME = "tennis_ball"


@dataclass
class TennisBall:
    """A spurious mark on one class of the source, and on every image of the target."""

    in_place: ClassVar[bool] = True

    classes: Annotated[list[str] | None, Field(description="only images of these classes; default: of all")] = None
    ratio: Annotated[float, Field(gt=0, le=1, description="share of the images of each class that get a ball")] = 1.0
    size: Annotated[int | None, Field(ge=1, description="pixels; default: an eighth of the image's height")] = None
    opaque: Annotated[bool, Field(description="no half-transparent edge, which is most of a small mark")] = False
    sprite: Annotated[Path | None, Field(description="a picture (RGBA) instead of the ball, made square")] = None

    _picture: Any = field(init=False, default=None, repr=False, compare=False)
    _tiles: dict[int, Any] = field(init=False, default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.sprite is not None:
            from transferkit.data import read_sprite

            self._picture = read_sprite(self.sprite, NAME)

    def select(self, labels: np.ndarray, classes: list[str], rng: np.random.Generator) -> np.ndarray:
        """⌊ratio·n_c + ½⌋ images of each class. Raises InputError for names that are no classes."""
        from transferkit.data import select_images

        return select_images(labels, classes, self.classes, self.ratio, rng, NAME)

    def corrupt(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Paste a ball into the image. Raises InputError when that does not fit."""
        x, y, size = self._place(image.size, rng)
        tile, mask = self._tile(size)
        image.paste(tile, (x, y), mask)
        return image

    def manifest(self, size: tuple[int, int], rng: np.random.Generator) -> dict[str, Any]:
        """The ball's upper left corner and its size, in pixels."""
        x, y, side = self._place(size, rng)
        return {"x": x, "y": y, "size": side}

    def _place(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int]:
        """(x, y, side): all offsets at which the ball lies inside are equally likely, 29 x 29 for 4 pixels in 32."""
        width, height = size
        side = max(1, (height + 4) // 8) if self.size is None else self.size
        if side > min(width, height):
            raise InputError(f"{NAME}: a ball of {side} pixels does not fit in an image of {width} x {height}")
        from transferkit.data import drawn_corner

        return (*drawn_corner(size, side, rng), side)

    def _tile(self, size: int) -> Any:
        if size not in self._tiles:
            from transferkit.data import scaled_sprite
            from transferkit_tennis_ball.drawing import draw_ball

            picture = draw_ball(size) if self._picture is None else self._picture
            self._tiles[size] = scaled_sprite(picture, size, self.opaque)
        return self._tiles[size]
