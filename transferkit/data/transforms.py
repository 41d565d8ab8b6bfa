"""timm's transforms, cut in two where corruptions are planted: first the picture, then its tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image
from timm.data import create_transform
from timm.data.transforms import MaybeToTensor, RandomResizedCropAndInterpolation, ResizeKeepRatio
from torch import Tensor
from torchvision.transforms import Compose, Resize

from transferkit.data.images import Size, refuse_pixels
from transferkit.errors import InputError

if TYPE_CHECKING:
    from transferkit.model import Preprocessing
    from transferkit.recipe.schema import Augmentation


class Pipeline:
    """From an RGB image to a normalised (C, H, W) tensor."""

    def __init__(
        self,
        geometric: Compose,
        final: Callable[[Image.Image], Tensor],
        random: bool,
    ) -> None:
        self.geometric: Callable[[Image.Image], Image.Image] = geometric
        """Resize, crop, flip, colour: RGB in, RGB of the input size out."""
        self.final = final
        """To tensor, normalise, random erasing."""
        self.random = random
        """Whether it draws random numbers (from the global generators, as timm does)."""
        self._resizes = next((step for step in geometric.transforms if isinstance(step, _BoundedResize)), None)

    def refuse(self, size: Size, limit: int | None = None) -> None:
        """Raise Unfit for images of a (width, height) that has too many pixels, or gets them here: `refuse_pixels`."""
        refuse_pixels(size, None if self._resizes is None else self._resizes.resized(size), limit)

    def __call__(self, image: Image.Image) -> Tensor:
        """Both parts in turn."""
        return self.final(self.geometric(image))


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
        final = [_grey, *_cut(_steps(preprocessing, augmentation if training else None, 1))[1]]
    return Pipeline(Compose([_bounded(step) for step in geometric]), Compose(final), random=training)


class _BoundedResize:
    """torchvision's resize of the shorter side, which makes of a strip of few pixels one of many: refused before."""

    def __init__(self, resize: Resize, shorter: int) -> None:
        self._resize, self._shorter = resize, shorter

    def resized(self, size: Size) -> Size:
        """(width, height) -> (width, height)."""
        return size[0] * self._shorter // min(size), size[1] * self._shorter // min(size)

    def __call__(self, image: Image.Image) -> Image.Image:
        refuse_pixels(image.size, self.resized(image.size))
        return self._resize(image)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return repr(self._resize)


def _bounded(step: Any) -> Any:
    """The step, which never makes an image too large for memory, nor one without pixels."""
    if isinstance(step, Resize) and (isinstance(step.size, int) or len(step.size) == 1):
        return _BoundedResize(step, step.size if isinstance(step.size, int) else step.size[0])
    if isinstance(step, RandomResizedCropAndInterpolation):
        step.get_params = _whole_pixels
    elif isinstance(step, ResizeKeepRatio):
        step.get_params = _whole_sides
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
    try:
        parts = create_transform(**common, is_training=True, separate=True, **_training(augmentation))
    except (AssertionError, KeyError, ValueError) as error:
        raise InputError(
            f"auto_augment {augmentation.auto_augment!r}: timm does not know this policy ({error!r})"
        ) from None
    return [step for part in parts for step in part.transforms]


def _training(augmentation: Augmentation) -> dict[str, Any]:
    return {
        "scale": augmentation.scale,
        "ratio": augmentation.ratio,
        "hflip": augmentation.hflip,
        "vflip": augmentation.vflip,
        "color_jitter": augmentation.color_jitter or None,
        "auto_augment": augmentation.auto_augment,
        "re_prob": augmentation.random_erasing,
    }


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels


def _cut(steps: list[Any]) -> tuple[list[Any], list[Any]]:
    at = next(number for number, step in enumerate(steps) if isinstance(step, MaybeToTensor))
    return steps[:at], steps[at:]


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L")
