"""A square in the colour of the class, or a picture, at one place of the images (paper 003)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from transferkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

NAME = "correlated_patch"
Place = Literal["top_left", "top_right", "bottom_left", "bottom_right", "center", "random"]
Size = tuple[int, int]
Box = tuple[int, int, int, int]
GREY = (128, 128, 128)


@dataclass(kw_only=True)
class CorrelatedPatch:
    """Give the class away by a square of its colour: a shortcut that a model may learn instead of the object."""

    in_place: ClassVar[bool] = True

    ratio: Annotated[float, Field(gt=0, le=1, description="share of the images of each class that get a patch")] = 1.0
    classes: Annotated[list[str] | None, Field(description="only images of these classes; default: of all")] = None
    side: Annotated[int | None, Field(ge=1, description="pixels; default: an eighth of the image's height")] = None
    place: Annotated[Place, Field(description="where the patch is; random: drawn once per image")] = "top_left"
    margin: Annotated[int, Field(ge=0, description="pixels between patch and border")] = 0
    shift: Annotated[int, Field(description="show the colour of class (y + shift) mod K: 1 is in conflict")] = 0
    alone: Annotated[bool, Field(description="mid-grey instead of the image: the patch is all there is")] = False
    image: Annotated[
        Path | None, Field(description="a picture instead of the square, stretched to it; transparency is kept")
    ] = None
    treated_as: Annotated[str | None, Field(description="everybody gets the colour of this class")] = None

    _sprite: Any = field(init=False, default=None, repr=False, compare=False)
    _scaled: dict[int, Any] = field(init=False, default_factory=dict, repr=False, compare=False)
    _boxes: dict[Size, Box] = field(init=False, default_factory=dict, repr=False, compare=False)
    _known: Any = field(init=False, default=None, repr=False, compare=False)
    _shown: list[int] = field(init=False, default_factory=list, repr=False, compare=False)
    _colours: list[tuple[int, int, int]] = field(init=False, default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.place == "random":  # only then does it ask for random numbers: making them costs more than the patch
            self.corrupt = self._corrupt_anywhere  # type: ignore[method-assign, assignment]
        if self.treated_as is not None and self.shift:
            raise InputError(f"{NAME}: treated_as gives everybody one colour, which shift cannot shift; give one")
        if self.image is not None and (self.treated_as is not None or self.shift):
            raise InputError(f"{NAME}: image shows one picture to every class, which has no colour to change")
        if self.image is not None:
            from transferkit.data import read_sprite

            self._sprite = read_sprite(self.image, NAME)

    def select(self, labels: np.ndarray, classes: list[str], rng: np.random.Generator) -> np.ndarray:
        """⌊ratio·n_c + ½⌋ images of each class. Raises InputError for names that are no classes."""
        from transferkit.data import select_images

        self._know(classes)
        return select_images(labels, classes, self.classes, self.ratio, rng, NAME)

    def corrupt(self, image: Image.Image, label: int, classes: list[str]) -> Image.Image:
        """Paint the patch into the image. Raises InputError when that does not fit."""
        box = self._boxes.get(image.size)
        if box is None:
            side = self._side(image.size)
            box = self._boxes[image.size] = _box(self._corner(image.size, side), side)
        return self._painted(image, label, classes, box)

    def _corrupt_anywhere(
        self, image: Image.Image, label: int, classes: list[str], rng: np.random.Generator
    ) -> Image.Image:
        """At a place drawn once per image, uniformly over all that keep the margin."""
        side = self._side(image.size)
        return self._painted(image, label, classes, _box(self._drawn_corner(image.size, side, rng), side))

    def manifest(self, size: Size, label: int, classes: list[str], rng: np.random.Generator) -> dict[str, Any]:
        """The patch's place and side in pixels, the class that it stands for, and its colour."""
        if classes is not self._known:
            self._know(classes)
        side = self._side(size)
        x, y = self._drawn_corner(size, side, rng)
        if self.image is not None:
            return {"x": x, "y": y, "side": side}
        colour = "#{:02x}{:02x}{:02x}".format(*self._colours[label])
        return {"x": x, "y": y, "side": side, "shown": classes[self._shown[label]], "colour": colour}

    def _drawn_corner(self, size: Size, side: int, rng: np.random.Generator) -> Size:
        if self.place != "random":
            return self._corner(size, side)
        from transferkit.data import drawn_corner

        return drawn_corner(size, side, rng, self.margin)

    def _painted(self, image: Image.Image, label: int, classes: list[str], box: Box) -> Image.Image:
        if classes is not self._known:
            self._know(classes)
        if self.alone:
            image.paste(GREY, (0, 0, *image.size))
        if self._sprite is None:
            image.paste(self._colours[label], box)
        else:
            tile, mask = self._tile(box[2] - box[0])
            image.paste(tile, box, mask)
        return image

    def _side(self, size: Size) -> int:
        width, height = size
        side = max(1, (height + 4) // 8) if self.side is None else self.side
        room = min(width, height) - 2 * self.margin
        if side > room:
            around = f" with a margin of {self.margin}" if self.margin else ""
            raise InputError(f"{NAME}: a patch of {side} pixels{around} does not fit in an image of {width} x {height}")
        return side

    def _corner(self, size: Size, side: int) -> Size:
        (width, height), margin = size, self.margin
        if self.place == "center":
            return (width - side) // 2, (height - side) // 2
        return (
            margin if self.place.endswith("left") else width - side - margin,
            margin if self.place.startswith("top") else height - side - margin,
        )

    def _tile(self, side: int) -> Any:
        """The picture at that size, and its transparency if it has any."""
        if side not in self._scaled:
            from transferkit.data import scaled_sprite

            self._scaled[side] = scaled_sprite(self._sprite, side)
        return self._scaled[side]

    def _know(self, classes: list[str]) -> None:
        """Work out the colour that each label gets, once per class list."""
        from transferkit.data import class_index
        from transferkit_correlated_patch.colours import patch_colours

        count = len(classes)
        if self.treated_as is not None:
            self._shown = [class_index(self.treated_as, classes, NAME)] * count
        else:
            self._shown = [(label + self.shift) % count for label in range(count)]
        colours = [(red, green, blue) for red, green, blue in patch_colours(count).tolist()]
        self._colours = [colours[shown] for shown in self._shown]
        self._known = classes


def _box(corner: Size, side: int) -> Box:
    x, y = corner
    return x, y, x + side, y + side
