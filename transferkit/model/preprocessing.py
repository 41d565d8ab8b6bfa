"""What a model expects of an image: size, normalisation and crop, complete, with no value left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError, Problem

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn

    from transferkit.recipe import schema

Size = tuple[int, int]


@dataclass(frozen=True)
class Preprocessing:
    """The evaluation transform of a model as data. `input_size` is (height, width) in pixels."""

    input_size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    crop_mode: str
    interpolation: str
    in_chans: int = 3

    def to_json(self) -> dict[str, Any]:
        """Plain values, for config.json."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for other content."""
        height, width = (int(size) for size in values["input_size"])
        return cls(
            input_size=(height, width),
            mean=tuple(float(value) for value in values["mean"]),
            std=tuple(float(value) for value in values["std"]),
            crop_pct=float(values["crop_pct"]),
            crop_mode=str(values["crop_mode"]),
            interpolation=str(values["interpolation"]),
            in_chans=int(values["in_chans"]),
        )

    def to_timm(self) -> dict[str, Any]:
        """The same in the words of timm's `pretrained_cfg` and `create_transform`."""
        return {
            "input_size": (self.in_chans, *self.input_size),
            "mean": self.mean,
            "std": self.std,
            "crop_pct": self.crop_pct,
            "crop_mode": self.crop_mode,
            "interpolation": self.interpolation,
        }


class Preprocess:
    """The evaluation transform of training and evaluation, for one PIL image at a time."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        from transferkit.data.transforms import transforms

        self.preprocessing = preprocessing
        self._pipeline = transforms(preprocessing, None)

    def refuse(self, size: Size, limit: int | None = None) -> None:
        """Raise Unfit for images of a (width, height) that is or becomes too large: see `refuse_pixels`."""
        self._pipeline.refuse(size, limit)

    def __call__(self, image: Image.Image) -> Tensor:
        """A PIL image of any mode and EXIF orientation -> a normalised tensor (C, H, W).

        Raises BadImage for one that is or becomes too large.
        """
        from transferkit.data.images import BadImage, Unfit, to_rgb

        try:
            self.refuse(image.size)
            return self._pipeline(to_rgb(image))
        except Unfit as why:
            raise BadImage(str(getattr(image, "filename", "") or "that was given"), str(why), kind=why.kind) from None


def complete(net: nn.Module, options: Mapping[str, Any], wanted: schema.Preprocessing | None = None) -> Preprocessing:
    """timm's own configuration of `net`, with what the recipe says instead.

    `options` are those the model was created with: timm's configuration knows nothing of `img_size` and
    `in_chans`, and would answer with the sizes of the original weights.
    """
    from timm.data import resolve_data_config

    config = resolve_data_config(model=net)
    channels = int(options.get("in_chans", config["input_size"][0]))
    size = as_size(options["img_size"]) if "img_size" in options else as_size(config["input_size"][1:])
    given = wanted.model_dump(exclude_none=True) if wanted is not None else {}
    return Preprocessing(
        input_size=as_size(given.get("input_size", size)),
        mean=_per_channel("mean", given.get("mean"), config["mean"], channels),
        std=_per_channel("std", given.get("std"), config["std"], channels),
        crop_pct=float(given.get("crop_pct", config["crop_pct"])),
        crop_mode=str(given.get("crop_mode", config["crop_mode"])),
        interpolation=str(given.get("interpolation", config["interpolation"])),
        in_chans=channels,
    )


def as_size(value: int | Sequence[int]) -> Size:
    """One number for both sides, or [height, width]."""
    if isinstance(value, int):
        return value, value
    height, width = value
    return int(height), int(width)


def _per_channel(
    name: str, given: Sequence[float] | None, default: Sequence[float], channels: int
) -> tuple[float, ...]:
    """One value per channel. The model's own RGB values are averaged where it takes another number."""
    where = f"model.preprocessing.{name}"
    if given is None:
        values = tuple(float(value) for value in default)
        return values if len(values) == channels else (sum(values) / len(values),) * channels
    values = tuple(float(value) for value in given)
    if len(values) not in (1, channels):
        raise InputError(Problem(where, f"{len(values)} values for a model with {channels} input channels"))
    if name == "std" and min(values) <= 0:
        raise InputError(Problem(where, f"standard deviations must be above 0, not {min(values)}"))
    return values if len(values) == channels else values * channels
