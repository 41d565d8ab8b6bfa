"""What a model says of photographs, in names: for people, notebooks and frames."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.images import BadImage
from transferkit.data.walk import image_files
from transferkit.deploy.reading import read_batches
from transferkit.errors import InputError
from transferkit.words.formats import count, number, percent
from transferkit.words.kinds import type_of
from transferkit.words.tabular import Tabular

if TYPE_CHECKING:
    from transferkit.deploy.loaded import LoadedModel, Prediction

Photograph: TypeAlias = str | Path | Image.Image | NDArray[np.uint8]
OnBadImage = Literal["error", "skip"]
ADVICE = 'Replace or remove it, or give on_bad_image="skip"'


@dataclass(frozen=True, repr=False)
class Answer(Tabular):
    """What the model says of one image. The last four are None for a model without a detector."""

    label: str
    """The most probable class."""
    probability: float
    probabilities: dict[str, float]
    """{class: probability}, the most probable first."""
    path: Path | None = None
    """The file, where it was one."""
    flagged: bool | None = None
    """Whether a source memory is so active that the answer is not to be trusted."""
    score: float | None = None
    p_value: float | None = None
    """How rarely a clean image has such a score."""
    source_class: str | None = None
    """The source class that is active most; None also where the detector names none."""

    def records(self) -> list[dict[str, Any]]:
        """A row per class."""
        return [{"class": name, "probability": value} for name, value in self.probabilities.items()]

    def heading(self) -> str:
        """The answer, and the detector's word."""
        place = "" if self.path is None else f"{self.path}: "
        return f"{place}{self.label} {percent(self.probability)}{self._flag()}"

    def _flag(self) -> str:
        if not self.flagged:
            return ""
        name = "" if self.source_class is None else f"{self.source_class}, "
        return f", flagged: do not trust it ({name}score {number(self.score, 2)})"


class Answers(Tabular, list[Answer]):
    """What the model says of several images, in their order. Its table has a row per image."""

    def records(self) -> list[dict[str, Any]]:
        """A row per image."""
        names = ("label", "probability", "flagged", "score", "p_value", "source_class")
        images = [one.path or index for index, one in enumerate(self)]
        return [
            {"image": str(image), **{name: getattr(one, name) for name in names}}
            for image, one in zip(images, self, strict=True)
        ]

    def heading(self) -> str:
        """How many, and how many are flagged."""
        flagged = sum(bool(one.flagged) for one in self)
        return count(len(self), "image") + (f", {flagged} flagged" if flagged else "")


def answer_photographs(
    model: LoadedModel, images: Photograph | Iterable[Photograph], batch_size: int, on_bad_image: OnBadImage
) -> Answer | Answers:
    """One answer for a file or an image, else a list of them: see `LoadedModel.predict`."""
    if on_bad_image not in ("error", "skip"):
        raise InputError(f'on_bad_image is "error" or "skip", not {on_bad_image!r}')
    alone = isinstance(images, Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4)
    if isinstance(images, str | Path):
        alone = not Path(images).expanduser().is_dir()
    one = [images] if alone or isinstance(images, str | Path) else images
    if not isinstance(one, Iterable) or (hasattr(one, "shape") and not isinstance(one, np.ndarray)):  # a tensor
        raise _no_photograph(one)
    left_out: list[str] = []

    def bad(image: Path | Image.Image, reason: str) -> None:
        path = str(image) if isinstance(image, Path) else str(getattr(image, "filename", "") or "that was given")
        error = BadImage(path, reason, advice=ADVICE)
        if on_bad_image == "error" or alone:
            raise error
        left_out.append(str(error).removesuffix(f". {ADVICE}"))

    found = Answers()
    for read, batch in read_batches(model.preprocess, _each(one), batch_size=batch_size, bad=bad):
        paths = [image if isinstance(image, Path) else None for image in read]
        found += _named(model, paths, model(batch))
    for text in left_out:
        warnings.warn(text, stacklevel=3)
    return found[0] if alone else found


def _each(images: Iterable[Any]) -> Iterator[Path | Image.Image]:
    """Files, the images of folders, and images as Pillow has them."""
    for image in images:
        if isinstance(image, str | Path):
            yield from map(Path, image_files([Path(image).expanduser()]))
        elif isinstance(image, Image.Image):
            yield image
        elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
            try:
                yield Image.fromarray(image)
            except TypeError:
                raise _no_photograph(image) from None
        else:
            raise _no_photograph(image)


def _no_photograph(given: Any) -> InputError:
    if hasattr(given, "shape"):
        what = f"an array of {given.dtype} with the shape {list(given.shape)}"
    else:
        what = type_of(given)
    return InputError(
        f"predict takes paths, PIL images, arrays (height, width, 3) of uint8, and lists of them, not {what}; "
        "a batch that is preprocessed already goes to the model itself: model(images)"
    )


def _named(model: LoadedModel, paths: list[Path | None], found: Prediction) -> Iterator[Answer]:
    best, order = found.probabilities.sort(dim=1, descending=True)
    columns: list[list[Any]] = [[None] * len(paths)] * 4
    if found.flag is not None and found.score is not None:
        assert found.p_value is not None and found.source_class is not None
        names = [model.source_classes[index] if index >= 0 else None for index in found.source_class.tolist()]
        columns = [found.flag.tolist(), found.score.tolist(), found.p_value.tolist(), names]
    for path, values, indices, *detector in zip(paths, best.tolist(), order.tolist(), *columns, strict=True):
        probabilities = {model.classes[index]: value for index, value in zip(indices, values, strict=True)}
        label = model.classes[indices[0]]
        yield Answer(label, probabilities[label], probabilities, path, *detector)
