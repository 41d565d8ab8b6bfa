"""Graphs that compute with fewer bits, and what that costs: measured on labelled images, and refused beyond a bound.

Half precision is torch's own cast of the whole model, before it is traced: `fp16` for ONNX and pt2, `bf16` for pt2.
Inputs, outputs and the preprocessing of pixels stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from transferkit.deploy import parity
from transferkit.deploy.loaded import LoadedModel
from transferkit.deploy.portable import Graph, Runner
from transferkit.deploy.variants import PRECISIONS, Variant
from transferkit.errors import InputError
from transferkit.model.preprocessing import Preprocess, Preprocessing
from transferkit.words.formats import count, number, percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transferkit.deploy.portable import Arrays

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
ALLOWED = 1.0
"""Points of accuracy that may be lost, and percent of flags that may differ."""

AGAIN = 0.05
"""Of the largest logit: by what another machine's kernels may answer differently from the recorded answers."""


@dataclass(frozen=True)
class Pictures:
    """Pictures to calibrate with, and pictures with the index of their class to measure on; each call begins anew."""

    calibration: Callable[[], Iterator[Image.Image]]
    validation: Callable[[], Iterator[tuple[Image.Image, int]]]


@dataclass(frozen=True)
class Loss:
    """What fewer bits cost on so many labelled images: shares; `flags_agree` of a guarded model alone."""

    images: int
    top1_before: float
    top1_after: float
    classes_agree: float
    flags_agree: float | None
    logits: float
    score: float | None
    allowed: float

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> Loss:
        """The inverse of `recorded`. Raises InputError for other content."""
        try:
            return cls(**{one.name: recorded[one.name] for one in fields(cls)})
        except KeyError as error:
            raise InputError(f"export.json does not say the {error} of a graph of fewer bits; export again") from error

    @property
    def points(self) -> float:
        """Of accuracy that are lost."""
        return 100 * (self.top1_before - self.top1_after)

    @property
    def told(self) -> str:
        """For people."""
        flags = "" if self.flags_agree is None else f", the same flag on {percent(self.flags_agree)}"
        return (
            f"{percent(self.top1_after)} right on {count(self.images, 'validation image')} in place of "
            f"{percent(self.top1_before)}, the same class on {percent(self.classes_agree)}{flags}"
        )


def check_precision(form: str, precision: str, pictures: Pictures | None) -> None:
    """Raise InputError for a precision that is none, that the format has not, or that cannot be measured."""
    if precision not in PRECISIONS:
        raise InputError(f'the precision is one of {", ".join(PRECISIONS)}, not "{precision}"')
    if precision == "bf16" and form == "onnx":
        raise InputError(
            "ONNX Runtime computes no bfloat16 on a CPU, so such a file could not be compared with the model; choose "
            "fp16, or the format pt2"
        )
    if precision == "int8" and form == "pt2":
        raise InputError("int8 is for the format onnx; pt2 has fp16 and bf16")
    if precision != PRECISIONS[0] and pictures is None:
        raise InputError(f"what {precision} costs is measured on labelled images: give some with --calibration FOLDER")


class Rounded(nn.Module):
    """A copy of the graph that computes in half precision, with the same inputs and outputs."""

    def __init__(self, loaded: LoadedModel, precision: str) -> None:
        super().__init__()
        self.dtype = HALVES[precision]
        whole = copy.copy(loaded)
        whole.model, whole.module = copy.deepcopy((loaded.model, loaded.module))  # together: one holds the other
        self.inner = Graph(whole, loaded.temperature).to(self.dtype)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Preprocessed images in single precision."""
        found = self.inner(images.to(self.dtype))
        return tuple(one.float() if one.is_floating_point() else one for one in found)


def measured(
    graph: Graph,
    run: Runner,
    variant: Variant,
    loaded: LoadedModel,
    pictures: Pictures,
    allowed: float,
    step: Callable[[str], None],
) -> Loss:
    """The loss of a file on the labelled pictures. Raises ParityError beyond what is allowed."""
    preprocess, threshold = Preprocess(loaded.model.preprocessing), None
    if loaded.interference is not None:
        threshold = loaded.interference.detect_p
    rows: list[tuple[bool, bool, bool, bool, float, float]] = []
    for picture, label in pictures.validation():
        step(f"measuring {variant.file}: image {len(rows) + 1}")
        images = preprocess(picture).numpy()[None]
        given = np.asarray(picture.convert("RGB"))[None] if variant.pixels else images
        expected, found = parity.expect(graph, images).outputs, run(given)
        rows.append(_row(expected, found, label, threshold, variant))
    if not rows:
        raise InputError("there is no validation image to measure on; give others with --calibration FOLDER")
    before, after, classes, flags, logits, score = np.array(rows, dtype=np.float64).T
    guarded = threshold is not None
    loss = Loss(
        images=len(rows),
        top1_before=float(before.mean()),
        top1_after=float(after.mean()),
        classes_agree=float(classes.mean()),
        flags_agree=float(flags.mean()) if guarded else None,
        logits=float(logits.max()),
        score=float(score.max()) if guarded else None,
        allowed=allowed,
    )
    other = 0.0 if loss.flags_agree is None else 100 * (1 - loss.flags_agree)
    if round(max(loss.points, other), 9) > allowed:
        raise parity.ParityError(
            f"{variant.file} is not written: {loss.told}; at most {allowed:g} points and {allowed:g} % other flags are "
            "allowed. Allow more with --allow-loss, or choose another --precision"
        )
    return loss


def _row(
    expected: Arrays, found: Arrays, label: int, threshold: float | None, variant: Variant
) -> tuple[bool, bool, bool, bool, float, float]:
    if not all(np.isfinite(found[name]).all() for name in ("logits", "score") if name in found):
        raise parity.ParityError(
            f"{variant.file} is not written: it answers with numbers that are not finite; choose another --precision"
        )
    first, second = int(expected["logits"].argmax()), int(found["logits"].argmax())
    logits = float(np.abs(expected["logits"] - found["logits"]).max())
    if threshold is None:
        return first == label, second == label, first == second, True, logits, 0.0
    flags = [not float(one["score"][0]) <= threshold for one in (expected, found)]
    score = float(np.abs(expected["score"] - found["score"]).max())
    return first == label, second == label, first == second, flags[0] == flags[1], logits, score


def differences(
    graph: Graph, run: Runner, preprocessing: Preprocessing, sizes: list[int], *, pixels: bool
) -> list[dict[str, Any]]:
    """How far keyed images are answered differently, by batch size; no bound, but every batch must be taken."""
    found: list[dict[str, Any]] = []
    first = 0
    for size in sizes:
        drawn = parity.draw(preprocessing, pixels, size, first)
        expected, given = parity.expect(graph, drawn.images).outputs, run(drawn.given)
        apart = {
            name: float(np.abs(expected[name] - given[name]).max()) for name in ("logits", "score") if name in expected
        }
        entry: dict[str, Any] = {"batch": size, "tolerance": None, "score": None}
        found.append(entry | apart)
        first += size
    return found


def reference(run: Runner, preprocessing: Preprocessing, most: int, *, pixels: bool) -> dict[str, Any]:
    """The file's own answers to the first keyed images, at most so many."""
    drawn = parity.draw(preprocessing, pixels, min(parity.REFERENCE, most))
    return parity.stored(drawn.given, run(drawn.given))


def check_again(expected: parity.Expected, found: Arrays, what: str) -> None:
    """Raise ParityError where a file does not answer as it did when it was written, but for other kernels' rounding."""
    for name in ("logits", "score"):
        if name not in expected.outputs:
            continue
        before = expected.outputs[name]
        allowed = AGAIN * max(1.0, _largest(before))
        apart = _largest(before - found[name])
        if not apart <= allowed:
            raise parity.ParityError(
                f"{what}: {name} differ by {number(apart, 2)} from when it was written; allowed are "
                f"{number(allowed, 2)}"
            )


def _largest(values: NDArray[Any]) -> float:
    return float(np.abs(values).max(initial=0.0))


def recorded(loss: Loss) -> dict[str, Any]:
    """For export.json."""
    return asdict(loss) | {"points": loss.points}
