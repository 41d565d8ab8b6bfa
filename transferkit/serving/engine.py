"""What computes, in the words of a server: outputs, engines, and whether an engine gives the answers that it must.

An engine is called from several threads at once, with a batch of any size. No torch: `graph` and `eager` have engines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from transferkit.deploy import parity

if TYPE_CHECKING:
    from PIL import Image

    from transferkit.data.images import Size
    from transferkit.deploy.interference import Interference
    from transferkit.model.preprocessing import Preprocessing

Pixels = NDArray[np.float32]
"""What a model sees of one image, (C, H, W), or of several, (n, C, H, W)."""
ONNX = Path("exports") / "model.onnx"
CALIBRATED = Path("exports") / "model_calibrated.onnx"
ACCELERATOR_TOLERANCE = 2e-2
"""Of logits, in units of the largest one where that is above 1, and of scores: GPUs may convolve with ten bits."""


class Outputs(NamedTuple):
    """Of n images: logits (n, K), and for a guarded model score (n,) and source_class (n,)."""

    logits: NDArray[np.float32]
    score: NDArray[np.float32] | None
    source_class: NDArray[np.int64] | None


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Outputs of several batches as those of one."""
    columns = zip(*parts, strict=True)
    return Outputs(*(None if column[0] is None else np.concatenate(column) for column in columns))  # type: ignore[arg-type]


class Engine(Protocol):
    """Images (n, C, H, W) -> Outputs."""

    name: str
    device: str
    largest: int | None
    """The largest batch it is made for."""

    def __call__(self, images: Pixels) -> Outputs:
        """Compute; safe to call from several threads."""


def each(engine: Engine, images: Sequence[Pixels]) -> list[Outputs]:
    """Images (C, H, W) in one pass -> a batch of one for each."""
    outputs = engine(np.stack(images))
    places = (slice(place, place + 1) for place in range(len(images)))
    return [Outputs(*(None if part is None else part[one] for part in outputs)) for one in places]  # type: ignore[arg-type]


class AnswerCheck:
    """Images and the eager model's answers to them, kept for as long as the server runs."""

    def __init__(self, images: Pixels, expected: parity.Expected) -> None:
        self.images = images
        self._expected = expected

    def problem(self, given: Outputs, device: str) -> str | None:
        """None if these are the answers, else how they differ."""
        found = {name: value for name, value in given._asdict().items() if value is not None}
        if device == "cpu":
            try:
                parity.compare(self._expected, found, "compared with the model")
            except parity.ParityError as error:
                return str(error)
            return None
        for name in ("logits", "score"):
            expected = self._expected.outputs.get(name)
            if expected is None:
                continue
            scale = max(1.0, float(np.abs(expected).max()))
            off = float(np.abs(found[name] - expected).max()) if name in found else np.nan
            if not off <= ACCELERATOR_TOLERANCE * scale:
                return f"compared with the model on a CPU: {name} differ by {off:.2g}"
        return None


class ToPixels(Protocol):
    """From a photograph to what the model sees, as `Preprocess`."""

    preprocessing: Preprocessing

    def refuse(self, size: Size, limit: int | None = None) -> None:
        """Raise Unfit for a (width, height) that is or becomes too large."""

    def __call__(self, image: Image.Image) -> Pixels:
        """(C, H, W)."""


class Sighting(NamedTuple):
    """Where the model sees a class of its own (`target`) or of its source model (`source`): a picture as JPEG.

    Without a picture `note` says why there is none.
    """

    role: str
    name: str
    probability: float
    picture: bytes | None
    note: str | None


@dataclass(frozen=True)
class Opened:
    """A model folder, opened for service by one engine that answers as it must."""

    classes: list[str]
    interference: Interference | None
    preprocess: ToPixels
    engine: Engine
    check: AnswerCheck
    explain: Callable[[Image.Image], list[Sighting]] | None = None
    """Draws what woke in a photograph, one call at a time; raises InputError for models that have no such maps."""
    calibrated: bool = False
    """Whether the engine's logits are divided by the model's temperature already."""
