"""Where in a photograph a model sees a class: probabilities and class-activation maps, also with a part greyed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transferkit.analysis.asked_classes import AskedClasses
from transferkit.analysis.composites import Batches, Pixels, mean_colour
from transferkit.analysis.maps import ActivationMaps, Wanted
from transferkit.data.transforms import transforms
from transferkit.errors import InputError
from transferkit.model.passes import fast_batch
from transferkit.model.wrapper import SourceHead, TransferModel

PLACES = 12  # of the control; they are taken from GRID x GRID
GRID = 9
STRETCH = 4  # how many times as high, or as low, as the box they may be

Shares = tuple[float, float, float, float]
"""(left, top, width, height) of a box, in shares of the photograph's width and height."""
Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels of what the model sees, half-open."""
Kind = Literal["photo", "greyed", "elsewhere"]


@dataclass(frozen=True, eq=False)
class Head:
    """A classifier on the model's features: its role, its classes, and which are asked for (none: the predicted)."""

    role: str
    head: SourceHead
    names: AskedClasses
    asked: list[int]


@dataclass(frozen=True, eq=False)
class Sight:
    """One class in one view: its probability by its head, and its map (h, w) after the ReLU, not normalised.

    `trouble` says why there is nothing to be seen on the map, if so.
    """

    role: str
    index: int
    name: str
    probability: float
    map: NDArray[np.float32]
    trouble: Literal["empty", "not finite"] | None


@dataclass(frozen=True, eq=False)
class View:
    """What the model saw: the photograph, with the box in its mean colour, or with another of the same area."""

    kind: Kind
    pixels: Pixels
    box: Box | None
    answers: dict[str, tuple[str, float]]
    """{role: (predicted class, its probability)}."""
    sights: list[Sight]


@dataclass(frozen=True, eq=False)
class Control:
    """Boxes of the same area elsewhere: how probable each class (role, name) is, and what is answered, by place."""

    probabilities: dict[tuple[str, str], list[float]]
    answers: dict[str, list[str]]

    @property
    def places(self) -> int:
        """How many there are."""
        return len(next(iter(self.answers.values())))


@dataclass(frozen=True, eq=False)
class Explanation:
    """All views of a photograph, the same classes in each. `covered` is the box's share of what the model sees."""

    views: list[View]
    covered: float | None = None
    control: Control | None = None
    notes: list[str] = field(default_factory=list)


class Explainer:
    """Explains photographs of any size. Raises InputError, by name and reason, for models without such maps.

    `method` and `layer` are those of `ActivationMaps`.
    """

    def __init__(
        self, model: TransferModel, heads: Sequence[Head], device: torch.device, *, method: str, layer: str | None
    ) -> None:
        self.model, self.heads = model.to(device).eval(), list(heads)
        self._maps = ActivationMaps(self.model, method=method, layer=layer)
        self.layer = self._maps.layer
        self._batch = Batches(model.preprocessing, device)
        pipeline = transforms(model.preprocessing, None)
        self._geometric, self.refuse = pipeline.geometric, pipeline.refuse
        self._colour = mean_colour(model.preprocessing.mean)

    def __call__(self, photo: Image.Image, occlude: Shares | None = None) -> Explanation:
        """An upright RGB photograph as it is and, with `occlude`, without what is in the box.

        The control greys boxes of the same area elsewhere; the one that is shown has the median probability of the
        first class. Raises InputError where the model sees nothing of the box.
        """
        pixels = np.asarray(self._geometric(photo))
        if occlude is None:
            features = self._features([pixels])
            columns = self._columns(features)
            return _noted([self._view("photo", pixels, None, features, columns)])
        box = self._placed(photo, occlude)
        others = elsewhere(box, pixels.shape[:2])
        boxes = [box, *others]
        pictures = [pixels, *(self._greyed(pixels, one) for one in boxes)]
        features = self._features(pictures)
        columns = self._columns(features[:2])
        views = [
            self._view("photo", pixels, box, features[:1], columns),
            self._view("greyed", pictures[1], box, features[1:2], columns),
        ]
        covered = (box[2] - box[0]) * (box[3] - box[1]) / (pixels.shape[0] * pixels.shape[1])
        if not others:
            return _noted(views, covered, None, ["no box of as large an area fits beside it: there is no control"])
        control = self._control(features[2:], columns)
        order = np.argsort(control.probabilities[self._key(columns[0])], kind="stable")
        middle = 2 + int(order[len(order) // 2])
        shown = features[middle : middle + 1]
        views.append(self._view("elsewhere", pictures[middle], boxes[middle - 1], shown, columns))
        return _noted(views, covered, control)

    def _features(self, pictures: Sequence[Pixels]) -> Tensor:
        size = fast_batch(self._batch.device)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(pictures), size):
                parts.append(self.model(self._batch(pictures[start : start + size])).features)
        return torch.cat(parts)

    def _columns(self, features: Tensor) -> list[tuple[Head, int]]:
        """The classes that are looked at, by head: those asked for, or else what is predicted for any of the views."""
        found = []
        for head in self.heads:
            predicted = head.head.logits(features).argmax(dim=1).tolist()
            found += [(head, index) for index in head.asked or dict.fromkeys(predicted)]
        return found

    def _key(self, column: tuple[Head, int]) -> tuple[str, str]:
        head, index = column
        return head.role, head.names.names[index]

    def _view(
        self, kind: Kind, pixels: Pixels, box: Box | None, features: Tensor, columns: list[tuple[Head, int]]
    ) -> View:
        wanted = [Wanted(torch.tensor([index]), head.head) for head, index in columns]
        output = self._maps(self._batch([pixels]), *wanted)
        sights = []
        for (head, index), heat, empty in zip(columns, output.maps, output.empty, strict=True):
            probability = float(_probabilities(head, features)[0, index])
            trouble: Literal["empty", "not finite"] | None = "empty" if bool(empty[0]) else None
            if not bool(heat.isfinite().all()):
                trouble = "not finite"
            name = head.names.names[index]
            sights.append(Sight(head.role, index, name, probability, heat[0].cpu().numpy(), trouble))
        return View(kind, pixels, box, {head.role: _answer(head, features) for head in self.heads}, sights)

    def _control(self, features: Tensor, columns: list[tuple[Head, int]]) -> Control:
        by_role = {head.role: _probabilities(head, features) for head in self.heads}
        probabilities = {self._key(column): by_role[column[0].role][:, column[1]].tolist() for column in columns}
        answers = {
            head.role: [head.names.names[index] for index in by_role[head.role].argmax(dim=1).tolist()]
            for head in self.heads
        }
        return Control(probabilities, answers)

    def _greyed(self, pixels: Pixels, box: Box) -> Pixels:
        top, left, bottom, right = box
        picture = pixels.copy()
        picture[top:bottom, left:right] = self._colour
        return picture

    def _placed(self, photo: Image.Image, shares: Shares) -> Box:
        """Where the box is in what the model sees, after its resize and crop."""
        left, top, width, height = (
            share * side for share, side in zip(shares, (photo.width, photo.height) * 2, strict=True)
        )
        corner = round(left), round(top)
        opposite = max(round(left + width), corner[0] + 1), max(round(top + height), corner[1] + 1)
        mask = Image.new("RGB", photo.size, "black")
        mask.paste("white", (*corner, *opposite))
        inside = np.asarray(self._geometric(mask))[..., 0] >= 128
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(rows):
            raise InputError(
                "the model sees nothing of the box: it is smaller than a pixel, or lies in what the "
                "model's crop cuts off"
            )
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def elsewhere(box: Box, size: Sequence[int]) -> list[Box]:
    """Up to twelve boxes of the same area in (height, width), spread over it, none of which touches the box.

    They have the box's shape, or else the nearest that fits anywhere, if that is not much longer or wider.
    """
    height, width = box[2] - box[0], box[3] - box[1]
    shapes = [(rows, round(height * width / rows)) for rows in range(-(-height // STRETCH), height * STRETCH + 1)]
    fitting = [(rows, columns) for rows, columns in shapes if rows <= size[0] and 0 < columns <= size[1]]
    for shape in sorted(fitting, key=lambda shape: abs(math.log(shape[0] / height))):
        found = _beside(box, shape, size)
        if found:
            spread = np.linspace(0, len(found) - 1, min(len(found), PLACES)).round().astype(int)
            return [found[place] for place in spread]
    return []


def _beside(box: Box, shape: tuple[int, int], size: Sequence[int]) -> list[Box]:
    """The places of a grid where a box of (height, width) does not touch the given one."""
    tops, lefts = (
        np.unique(np.linspace(0, side - length, GRID).round().astype(int)).tolist()
        for side, length in zip(size, shape, strict=True)
    )
    return [
        (top, left, top + shape[0], left + shape[1])
        for top in tops
        for left in lefts
        if top + shape[0] <= box[0] or top >= box[2] or left + shape[1] <= box[1] or left >= box[3]
    ]


def _probabilities(head: Head, features: Tensor) -> Tensor:
    """(n, K), on the CPU."""
    return head.head.logits(features).float().softmax(dim=1).cpu()


def _answer(head: Head, features: Tensor) -> tuple[str, float]:
    value, index = _probabilities(head, features)[0].max(dim=0)
    return head.names.names[int(index)], float(value)


REASONS = {
    "empty": "the map is empty: no place in the picture raises its score",
    "not finite": "there is no map: its numbers are not finite",
}
SAID = {"photo": "", "greyed": " with the box greyed", "elsewhere": " with another box greyed"}


def _noted(
    views: list[View], covered: float | None = None, control: Control | None = None, notes: Sequence[str] = ()
) -> Explanation:
    troubles = [
        f"{sight.name} ({sight.role}){SAID[view.kind]}: {REASONS[sight.trouble]}"
        for view in views
        for sight in view.sights
        if sight.trouble is not None
    ]
    return Explanation(views, covered, control, [*notes, *troubles])
