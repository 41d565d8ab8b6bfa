"""Pillow's resampling and timm's evaluation crop as operations of a graph: from pixels to what a model sees.

A resized picture is a product of matrices: one that gathers columns, then one that gathers rows. Their entries follow
from the size by Pillow's own rule, in double precision and rounded to 22 bits as Pillow rounds them, and the sums of
products are whole numbers below 2^53; so every pixel is the very one that Pillow computes. Only rows and columns that
the crop keeps are computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import PIL
import torch
from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.model.preprocessing import Preprocessing
from transferkit.words.doors import said

INPUT = "pixels"
BITS = 22
"""Of a weight's fraction, in Pillow: 32, less 8 of a pixel and 2 for sums beyond white and below black."""

LUMA = (19595.0, 38470.0, 7471.0)
"""Of 65536: what red, green and blue add to Pillow's grey."""


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    a = -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, torch.zeros_like(x)))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x < 3.0, _sinc(x) * _sinc(x / 3), torch.zeros_like(x))


def _sinc(x: Tensor) -> Tensor:
    turned = x * math.pi
    return torch.where(x == 0.0, torch.ones_like(x), torch.sin(turned) / torch.where(x == 0.0, 1.0, turned))


FILTERS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
    "lanczos": (3.0, _lanczos),
}
"""Pillow's filters: how far each reaches, and its value at a distance."""


class PixelIntake(nn.Module):
    """RGB pixels (n, height, width, 3) uint8 of one size -> (n, C, H, W) float32, as `Preprocess` makes it of pictures.

    Raises InputError for a preprocessing that no graph can do.
    """

    mean: Tensor
    std: Tensor
    fill: Tensor
    luma: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        check(preprocessing)
        self.mode = preprocessing.crop_mode
        self.crop = preprocessing.input_size
        self.scaled = tuple(math.floor(side / preprocessing.crop_pct) for side in preprocessing.input_size)
        self.reach, self.filter = FILTERS[preprocessing.interpolation]
        self.grey = preprocessing.in_chans == 1
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, name), dtype=torch.float32)
            self.register_buffer(name, values.view(-1, 1, 1))
        self.register_buffer("fill", torch.tensor(border(preprocessing), dtype=torch.float64).view(3, 1, 1))
        self.register_buffer("luma", torch.tensor(LUMA, dtype=torch.float64).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Resize, crop, normalise."""
        levels = self.levels(pixels)
        return (levels.to(torch.float32) / 255.0 - self.mean) / self.std

    def levels(self, pixels: Tensor) -> Tensor:
        """(n, C, H, W) float64: the grey levels, 0 to 255, of what is then normalised."""
        given = pixels.permute(0, 3, 1, 2).to(torch.float64)
        rows, columns = _length(given, 2), _length(given, 3)
        tall, wide = self.resized(rows, columns)
        down, keeps_row = self.weights(given.shape[2], rows, tall, self.crop[0])
        across, keeps_column = self.weights(given.shape[3], columns, wide, self.crop[1])
        made = _either(rows_first(rows, columns, tall, wide), (given, down.T.contiguous(), across))
        made = torch.where(keeps_row[:, None] & keeps_column, made, self.fill)
        if self.grey:
            made = torch.floor(((made * self.luma).sum(1, keepdim=True) + 32768.0) / 65536.0)
        return made

    def resized(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """(height, width) of the whole resized picture, from that of the given one."""
        tall, wide = self.scaled
        if self.mode == "squash":
            return torch.full_like(rows, tall), torch.full_like(columns, wide)
        if self.mode == "center" and tall == wide:
            shorter = torch.minimum(rows, columns)
            return rows * tall // shorter, columns * tall // shorter
        by_row, by_column = rows.double() / tall, columns.double() / wide
        ratio = torch.maximum(by_row, by_column) if self.mode == "border" else torch.minimum(by_row, by_column)
        return tuple(torch.round(side.double() / ratio).long().clamp(min=1) for side in (rows, columns))  # type: ignore[return-value]

    def weights(self, length: int, side: Tensor, resized: Tensor, kept: int) -> tuple[Tensor, Tensor]:
        """Of one side that is resized and cropped: (length, kept) weights in units of 2^-22; (kept,) what is inside."""
        beyond = resized - kept
        half = torch.div(beyond, 2, rounding_mode="floor")
        # halves are rounded to even where something is cut off, and down where a border is added
        first = torch.where(beyond > 0, half + (beyond % 2) * (half % 2), -torch.div(-beyond, 2, rounding_mode="floor"))
        place = torch.arange(kept) + first
        scale = side.double() / resized.double()
        stretch = scale.clamp(min=1.0)
        centre = (place.double() + 0.5) * scale
        support = self.reach * stretch
        low = torch.floor(centre - support + 0.5).clamp(min=0.0)
        high = torch.minimum(torch.floor(centre + support + 0.5), side.double())
        at = torch.arange(length).double()[:, None]
        weight = self.filter(((at - centre + 0.5) * (1.0 / stretch)).abs())
        weight = torch.where((at >= low) & (at < high), weight, 0.0)
        share = weight / weight.sum(0, keepdim=True)
        whole = torch.trunc(share * float(1 << BITS) + torch.where(share < 0.0, -0.5, 0.5))
        return whole, (place >= 0) & (place < resized)


def check(preprocessing: Preprocessing) -> None:
    """Raise InputError for a preprocessing that no graph can do."""
    if preprocessing.interpolation not in FILTERS:
        raise InputError(
            f'the interpolation "{preprocessing.interpolation}" cannot be in a graph (only {", ".join(FILTERS)}); '
            "export with " + said("--input floats", 'inputs=["floats"]')
        )
    if preprocessing.in_chans not in (1, 3):
        raise InputError(f"images have 1 or 3 channels, but the model takes in_chans={preprocessing.in_chans}")


def border(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """The colour around a picture that is smaller than the crop: timm's, or torchvision's black."""
    if preprocessing.crop_mode != "border":
        return (0, 0, 0)
    mean = preprocessing.mean
    values = mean if len(mean) == 3 else (sum(mean) / len(mean),) * 3
    return tuple(min(max(round(255 * value), 0), 255) for value in values)  # type: ignore[return-value]


def rows_first(rows: Tensor, columns: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
    """Whether this Pillow makes a picture smaller by rows before it does so by columns; each pass rounds."""
    if int(PIL.__version__.split(".")[0]) >= 13:
        return (rows > tall) & (rows - tall > (columns - wide) * 2)
    return (rows > columns * 100) & (rows > tall)


def _length(images: Tensor, dimension: int) -> Tensor:
    """The length of a side as a number in the graph, which then depends on no example."""
    return torch.scalar_tensor(images.shape[dimension], dtype=torch.int64)


def _either(by_rows: Tensor, operands: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    if torch.compiler.is_compiling():  # a branch of the graph; called plainly it would compile both
        return torch.cond(by_rows, _by_rows, _by_columns, operands)  # type: ignore[no-any-return]
    return (_by_rows if by_rows else _by_columns)(*operands)


def _by_columns(given: Tensor, down: Tensor, across: Tensor) -> Tensor:
    return _rounded(down @ _rounded(given @ across))


def _by_rows(given: Tensor, down: Tensor, across: Tensor) -> Tensor:
    return _rounded(_rounded(down @ given) @ across)


def _rounded(sums: Tensor) -> Tensor:
    """Sums in units of 2^-22 to levels of grey: rounded half up and held between 0 and 255."""
    half = float(1 << (BITS - 1))
    return torch.floor((sums + half) * 2.0**-BITS).clamp(0.0, 255.0)
