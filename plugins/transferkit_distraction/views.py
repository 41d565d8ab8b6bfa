"""What one model makes of composites: its maps and predictions, class by class, from the cache where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import AnalysisSession, Bar, Composites, Wanted, mean_colour
from transferkit_distraction.options import Options

Pixels = NDArray[np.uint8]
BATCH = {"cpu": 16}


@dataclass(eq=False)
class Part:
    """The composites of one source class; their pixels are made once, when a model first asks for them."""

    number: int
    composites: Composites
    indices: list[int]

    @cached_property
    def pixels(self) -> list[Pixels]:
        """(H, W, 3) each."""
        return [self.composites.pixels(index) for index in self.indices]

    def forget(self) -> None:
        """Let the pixels go: 6 MB of 40 composites at 224 pixels."""
        self.__dict__.pop("pixels", None)

    @property
    def items(self) -> list[Any]:
        """What each composite is."""
        return [self.composites.items[index] for index in self.indices]

    @property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """(top, left, bottom, right) of each pasted image."""
        return [item.box for item in self.items]

    @property
    def labels(self) -> Tensor:
        """(n,) int64: the target class of each pasted image."""
        return torch.tensor([item.overlay_class for item in self.items], dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class View:
    """One model's answers on n composites. Classes are those of M^t, -1 for one that M^t does not have."""

    maps: Tensor
    """(n, h, w) float32, of low resolution."""
    empty: Tensor
    """(n,) bool: the map is zero everywhere."""
    predicted: Tensor
    """(n,) int64."""
    probability: Tensor
    """(n,) float32, of the predicted class."""
    on_colour: Tensor
    """(n,) int64: predicted with the same overlay at the same place on one colour; empty for the source model."""


@dataclass(eq=False)
class Viewer:
    """A model in a role together with what is asked of it."""

    session: AnalysisSession
    role: str
    options: Options
    known: list[int] = field(default_factory=list)
    """The model's own number of each of M^t's classes; empty for the source model."""

    def __post_init__(self) -> None:
        self.model = self.session.model(self.role)
        target = self.session.model("target")
        same = self.role != "baseline" or self.model.architecture == target.architecture
        self.maps = self.session.maps(self.role, method=self.options.method, layer=self.options.layer if same else None)
        self.batches = self.session.batches(self.role)
        probe = self.role == "source" and self.session.source_head_is_probe
        self.head = self.session.source_head() if probe else None
        self.colour = mean_colour(self.model.preprocessing.mean)

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the composites, which are M^t's."""
        return self.session.model("target").preprocessing.input_size

    @property
    def passes(self) -> int:
        """Forward passes per composite."""
        return 1 if self.role == "source" else 2

    def facts(self, part: Part) -> dict[str, Any]:
        """All that its view of a part follows from."""
        return {
            "what": "views of composites",
            "model": self.session.digest(self.role),
            "head": None if self.head is None else self.session.digest("head_swap"),
            "composites": self.session.composites_digest(part.items),
            "maps": [self.options.method, self.maps.layer, self.options.of],
            "asked": "source" if self.role == "source" else [self.options.target_class, self.known],
            "device": self.session.device.type,
        }

    def view(self, part: Part, bar: Bar) -> View:
        """Its maps and predictions of a part."""
        found = self.session.cached(self.facts(part), lambda: self._look(part))
        bar.advance(self.passes * len(part.indices))
        return View(**found)

    def _look(self, part: Part) -> dict[str, Tensor]:
        size = BATCH.get(self.session.device.type, 64)
        rows = [self._look_at(part, slice(start, start + size)) for start in range(0, len(part.indices), size)]
        return {name: torch.cat([row[name].cpu() for row in rows]) for name in rows[0]}

    def _look_at(self, part: Part, chunk: slice) -> dict[str, Tensor]:
        wanted: Any = "predicted"
        if self.role == "source":
            wanted = torch.full((len(part.indices[chunk]),), part.number, dtype=torch.int64)
        elif self.options.target_class == "overlay":
            wanted = torch.tensor(self.known)[part.labels[chunk]]
        output = self.maps(self.batches(part.pixels[chunk]), Wanted(wanted, self.head, self.options.of))
        best = output.logits.float().softmax(dim=1).max(dim=1)
        colour = torch.zeros(len(best.values), dtype=torch.int64)
        if self.role != "source":
            colour = self.predict([part.composites.on_colour(i, self.colour) for i in part.indices[chunk]])
        return {
            "maps": output.maps[0],
            "empty": output.empty[0],
            "predicted": self._named(best.indices.cpu()),
            "probability": best.values,
            "on_colour": colour,
        }

    def predict(self, pictures: Sequence[Pixels]) -> Tensor:
        """(n,) int64: the target class predicted for each picture, on the CPU."""
        found = [output.logits.argmax(dim=1).cpu() for output in self.session.answers(self.role, pictures)]
        return self._named(torch.cat([torch.empty(0, dtype=torch.int64), *found]))

    def _named(self, predicted: Tensor) -> Tensor:
        """The model's own class numbers as M^t's."""
        if self.role == "source":
            return predicted
        numbers = torch.full((len(self.model.classes),), -1, dtype=torch.int64)
        numbers[torch.tensor(self.known)] = torch.arange(len(self.known))
        return numbers[predicted]
