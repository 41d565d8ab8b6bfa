"""timm's transforms, cut in two where corruptions are planted: first the picture, then its tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.transforms import MaybeToTensor, RandomResizedCropAndInterpolation, ResizeKeepRatio
from torch import Tensor
from torchvision.transforms import Compose, Resize

from transferkit.data.images import Size, keep_ratio, refuse_pixels
from transferkit.errors import InputError

if TYPE_CHECKING:
    from transferkit.model.preprocessing import Preprocessing
    from transferkit.recipe.schema import Augmentation


CHUNK = 1 << 18
"""How many numbers are normalised at a time: what stays in a core's own cache."""


class Normalise:
    """From uint8 pixels to what torchvision's ToTensor and Normalize make of them, equal to the last bit."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        if not std.all():
            raise InputError(f"std has a zero ({std.tolist()}): images cannot be divided by it")
        self._constants = torch.tensor(255.0), mean.view(-1, 1, 1), std.view(-1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(n, C, H, W) uint8 -> the same in float32, in memory of its own on the same device."""
        # divisors lie on the device as well: CUDA multiplies by the inverse of one that does not
        most, mean, std = (constant.to(pixels.device) for constant in self._constants)
        if pixels.device.type != "cpu":
            return pixels.to(torch.float32).div_(most).sub_(mean).div_(std)
        made = torch.empty(pixels.shape, dtype=torch.float32)
        step = max(1, CHUNK // max(1, pixels[:1].numel()))
        part = torch.empty((min(step, len(pixels)), *pixels.shape[1:]), dtype=torch.float32)
        for given, place in zip(torch.split(pixels, step), torch.split(made, step), strict=True):
            floats = part[: len(given)].copy_(given)
            torch.div(floats.div_(most).sub_(mean), std, out=place)
        return made


@dataclass(eq=False)
class Pipeline:
    """From an RGB image to a normalised (C, H, W) tensor."""

    geometric: Compose
    """Resize, crop, flip, colour: RGB in, RGB of the input size out."""
    mode: str
    """What the pixels are then converted to: RGB or L."""
    normalise: Normalise
    rest: Sequence[Callable[[Tensor], Tensor]] = ()
    """What follows normalisation: random erasing."""
    random: bool = False
    """Whether it draws random numbers (from the global generators, as timm does)."""

    def refuse(self, size: Size, limit: int | None = None) -> None:
        """Raise Unfit for images of a (width, height) that has too many pixels, or gets them here: `refuse_pixels`."""
        resizes = next((step for step in self.geometric.transforms if isinstance(step, _BoundedResize)), None)
        refuse_pixels(size, None if resizes is None or not min(size) else resizes.resized(size), limit)

    def __call__(self, image: Image.Image) -> Tensor:
        """Both parts in turn."""
        return self.final(self.geometric(image))

    def final(self, picture: Image.Image) -> Tensor:
        """(C, H, W): to tensor, normalise, random erasing."""
        pixels = torch.empty(self.shape(picture), dtype=torch.uint8)
        _write(picture, self.mode, pixels)
        made = self.normalise(pixels[None])[0]
        for step in self.rest:
            made = step(made)
        return made

    def shape(self, picture: Image.Image) -> tuple[int, int, int]:
        """(C, H, W) of its tensor."""
        return len(self.mode), picture.height, picture.width

    @property
    def kept(self) -> torch.dtype:
        """As what pictures are kept until their batch is used: as pixels, a quarter of the floats, if that can be."""
        return torch.float32 if self.rest else torch.uint8

    def keep(self, picture: Image.Image, place: Tensor) -> None:
        """Write it into its (C, H, W) place in a batch of the type `kept`."""
        if self.rest:
            place.copy_(self.final(picture))
        else:
            _write(picture, self.mode, place)

    def finish(self, batch: Tensor) -> Tensor:
        """(n, C, H, W) as they were kept -> floats, equal to `final` of each picture."""
        return batch if self.rest else self.normalise(batch)


def transforms(preprocessing: Preprocessing, augmentation: Augmentation | None) -> Pipeline:
    """The training pipeline of an augmentation, or the evaluation pipeline where it is None or `none: true`.

    Raises InputError for a number of channels other than 1 or 3 and for an auto-augment policy that timm
    does not know.
    """
    if preprocessing.in_chans not in (1, 3):
        raise InputError(f"images have 1 or 3 channels, but the model takes in_chans={preprocessing.in_chans}")
    training = augmentation is not None and not augmentation.none
    colour = _steps(preprocessing, augmentation if training else None, 3)
    geometric, final = _cut(colour)
    if preprocessing.in_chans == 1:
        final = _cut(_steps(preprocessing, augmentation if training else None, 1))[1]
    _, normalise, *rest = final
    mode = "RGB" if preprocessing.in_chans == 3 else "L"
    bounded = Compose([_bounded(step) for step in geometric])
    return Pipeline(bounded, mode, Normalise(normalise.mean, normalise.std), rest, random=training)


class _BoundedResize:
    """A resize by the shorter side, which makes of a strip of few pixels one of many: refused before.

    `resized` is what it makes of (width, height).
    """

    def __init__(self, resize: Callable[[Image.Image], Image.Image], resized: Callable[[Size], Size]) -> None:
        self._resize, self.resized = resize, resized

    def __call__(self, image: Image.Image) -> Image.Image:
        refuse_pixels(image.size, self.resized(image.size))
        return self._resize(image)

    def __repr__(self) -> str:
        return repr(self._resize)


def _by_shorter(shorter: int, size: Size) -> Size:
    """(width, height) with the shorter side of so many pixels."""
    return size[0] * shorter // min(size), size[1] * shorter // min(size)


def _bounded(step: Any) -> Any:
    """The step, which never makes an image too large for memory, nor one without pixels."""
    if isinstance(step, Resize) and (isinstance(step.size, int) or len(step.size) == 1):
        shorter = step.size if isinstance(step.size, int) else step.size[0]
        return _BoundedResize(step, partial(_by_shorter, shorter))
    if isinstance(step, RandomResizedCropAndInterpolation):
        step.get_params = _whole_pixels
    elif isinstance(step, ResizeKeepRatio):
        step.get_params = _whole_sides
        if not step.random_scale_prob and not step.random_aspect_prob:
            return _BoundedResize(step, partial(keep_ratio, target=step.size, longest=step.longest))
    return step


def _whole_pixels(image: Image.Image, *options: Any) -> tuple[int, int, int, int]:
    """timm's random crop (top, left, height, width), whose share of an image of few pixels may round to nothing."""
    top, left, height, width = RandomResizedCropAndInterpolation.get_params(image, *options)
    return min(top, image.height - 1), min(left, image.width - 1), max(height, 1), max(width, 1)


def _whole_sides(*options: Any) -> list[int]:
    """timm's (height, width) of a strip that is made to fit, whose shorter side may round to nothing."""
    return [max(side, 1) for side in ResizeKeepRatio.get_params(*options)]


def _steps(preprocessing: Preprocessing, augmentation: Augmentation | None, channels: int) -> list[Any]:
    common = {
        "input_size": (channels, *preprocessing.input_size),
        "interpolation": preprocessing.interpolation,
        "mean": _per_channel(preprocessing.mean, channels),
        "std": _per_channel(preprocessing.std, channels),
    }
    if augmentation is None:
        crop = {"crop_pct": preprocessing.crop_pct, "crop_mode": preprocessing.crop_mode}
        return list(create_transform(**common, **crop).transforms)
    training = {
        "scale": augmentation.scale,
        "ratio": augmentation.ratio,
        "hflip": augmentation.hflip,
        "vflip": augmentation.vflip,
        "color_jitter": augmentation.color_jitter or None,
        "auto_augment": augmentation.auto_augment,
        "re_prob": augmentation.random_erasing,
    }
    try:
        parts = create_transform(**common, is_training=True, separate=True, **training)
    except (AssertionError, KeyError, ValueError) as error:
        policy = f"auto_augment {augmentation.auto_augment!r}"
        raise InputError(f"{policy}: timm does not know this policy ({error!r})") from None
    return [step for part in parts for step in part.transforms]


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def _cut(steps: list[Any]) -> tuple[list[Any], list[Any]]:
    at = next(number for number, step in enumerate(steps) if isinstance(step, MaybeToTensor))
    return steps[:at], steps[at:]


def _write(picture: Image.Image, mode: str, place: Tensor) -> None:
    """Its pixels into (C, H, W) uint8, one colour after the other."""
    picture = picture if picture.mode == mode else picture.convert(mode)
    for plane, band in zip(place.numpy(), mode, strict=True):
        plane[:] = np.frombuffer(picture.tobytes("raw", band), np.uint8).reshape(plane.shape)
