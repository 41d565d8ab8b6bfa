"""The evaluation transform by Pillow and NumPy alone, equal to the last bit to the one of `transforms`.

For a program that serves an exported graph, where torch would take more memory than everything else together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from transferkit.data.images import BadImage, Size, Unfit, keep_ratio, refuse_pixels, to_rgb
from transferkit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transferkit.model.preprocessing import Preprocessing

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
DEFAULT_CROP = 0.875  # timm's, for a crop of 0


class PlainPreprocess:
    """As `Preprocess`, with arrays for tensors. Raises InputError for an interpolation that is none of Pillow's."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        if preprocessing.in_chans not in (1, 3):
            raise InputError(f"images have 1 or 3 channels, but the model takes in_chans={preprocessing.in_chans}")
        if preprocessing.interpolation not in FILTERS:
            raise InputError(
                f'the interpolation "{preprocessing.interpolation}" is none of {", ".join(FILTERS)}, so images cannot '
                "be resized without torch"
            )
        self.preprocessing = preprocessing
        self._crop = preprocessing.input_size
        self._filter = FILTERS[preprocessing.interpolation]
        share = preprocessing.crop_pct or DEFAULT_CROP
        self._scale = tuple(math.floor(side / share) for side in self._crop)
        self._fill = tuple(round(255 * value) for value in _channels(preprocessing.mean, 3))
        self._mode = "RGB" if preprocessing.in_chans == 3 else "L"
        mean, std = (_channels(values, len(self._mode)) for values in (preprocessing.mean, preprocessing.std))
        self._mean, self._std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (mean, std))

    def refuse(self, size: Size, limit: int | None = None) -> None:
        """Raise Unfit for images of a (width, height) that is or becomes too large: see `refuse_pixels`."""
        refuse_pixels(size, self._resized(size) if min(size) else None, limit)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """A PIL image of any mode and EXIF orientation -> normalised (C, H, W).

        Raises BadImage for one that is or becomes too large.
        """
        try:
            self.refuse(image.size)
            picture = self._cropped(self._resize(to_rgb(image)))
        except Unfit as why:
            raise BadImage(str(getattr(image, "filename", "") or "that was given"), str(why), kind=why.kind) from None
        picture = picture if picture.mode == self._mode else picture.convert(self._mode)
        pixels = np.asarray(picture).reshape(picture.height, picture.width, -1).transpose(2, 0, 1)
        made = np.ascontiguousarray(pixels, np.float32)
        made /= np.float32(255)
        made -= self._mean
        made /= self._std
        return made

    @property
    def _by_shorter_side(self) -> bool:
        return self.preprocessing.crop_mode not in ("squash", "border") and self._scale[0] == self._scale[1]

    def _resized(self, size: Size) -> Size:
        """(width, height) after the resize, before the crop: as torchvision and timm compute it."""
        mode, (height, width) = self.preprocessing.crop_mode, self._scale
        if mode == "squash":
            return width, height
        if self._by_shorter_side:
            shorter = min(size)
            long = int(height * max(size) / shorter)
            return (height, long) if size[0] <= size[1] else (long, height)
        return keep_ratio(size, self._scale, float(mode == "border"))

    def _resize(self, image: Image.Image) -> Image.Image:
        size = self._resized(image.size)
        return image if size == image.size else image.resize(size, self._filter)

    def _cropped(self, image: Image.Image) -> Image.Image:
        """The middle; what is missing of it is black, or in crop mode `border` the mean colour."""
        height, width = self._crop
        missing = max(width - image.width, 0), max(height - image.height, 0)
        if any(missing):
            fill = self._fill if self.preprocessing.crop_mode == "border" else 0
            left, top = missing[0] // 2, missing[1] // 2
            image = ImageOps.expand(image, (left, top, missing[0] - left, missing[1] - top), fill)
        left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
        return image.crop((left, top, left + width, top + height))


def _channels(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    """One for each, else their mean for all, as the other transform has them."""
    return tuple(values) if len(values) == count else (sum(values) / len(values),) * count
