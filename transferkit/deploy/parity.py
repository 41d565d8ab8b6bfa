"""Does an exported file answer as the model does? The same images through both, batch by batch, row by row."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from transferkit.data.randomness import key
from transferkit.errors import InputError, TransferkitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from transferkit.deploy.portable import Arrays, Graph, Runner
    from transferkit.model.preprocessing import Preprocessing

TOLERANCE = 1e-4
LARGE = 10.0  # logits beyond this are compared relative to it: single precision has seven digits
BATCHES = (1, 2, 3, 8, 64)
SIZES = ((1.7, 0.9), (0.3, 1.4), (1.0, 1.0), (4.1, 0.6), (0.7, 0.5), (1.1, 2.9), (1.3, 1.2))
"""Of pictures, in units of the model's input: (width, height), with which each batch in turn is drawn."""

GRAIN = 8  # of 255
REFERENCE = 3  # images whose answers are kept in the record


class ParityError(TransferkitError):
    """An exported file answers differently from the model it was made of."""


@dataclass(frozen=True)
class Agreement:
    """How far a batch of n images agrees: largest differences, and rows too close to a tie to compare classes on.

    `tolerance` holds for the logits; a score that is a probability has 1e-4, others the same rule.
    """

    batch: int
    tolerance: float
    logits: float
    score: float | None = None
    class_ties: int = 0
    source_class_ties: int = 0


@dataclass(frozen=True)
class Expected:
    """The eager model's answers, and for each row whether its class, or source class, is a near tie."""

    outputs: Arrays
    class_tie: NDArray[np.bool_]
    source_class_tie: NDArray[np.bool_]


def batches(max_batch: int, *, pixels: bool = False) -> list[int]:
    """The batch sizes to compare: 1, 2, 3, 8, 64 and the largest below 64 that is allowed; of pixels more of one."""
    sizes = sorted({size for size in (*BATCHES, min(max_batch, BATCHES[-1])) if size <= max_batch})
    return [1] * (len(SIZES) - len(BATCHES)) * pixels + sizes


def keyed_images(preprocessing: Preprocessing, count: int, first: int = 0) -> NDArray[np.float32]:
    """(count, C, H, W): images number `first` and on, normalised as the model's preprocessing does.

    Noise, coarse noise, gradients, stripes, checks and flat grounds in turn, all with a little grain: on perfectly flat
    images some networks answer with their own rounding errors. Each depends on its number and the size alone, to the
    bit, on every machine.
    """
    mean = np.array(preprocessing.mean, dtype=np.float32).reshape(-1, 1, 1)
    std = np.array(preprocessing.std, dtype=np.float32).reshape(-1, 1, 1)
    shape = (preprocessing.in_chans, *preprocessing.input_size)
    pixels = [_pixels(index, shape).astype(np.float32) for index in range(first, first + count)]
    return np.stack([(image / np.float32(255) - mean) / std for image in pixels])


def _pixels(index: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    noise = _bytes("noise", index, math.prod(shape)).reshape(shape)
    if index % 6 == 0:
        return noise
    grain = noise.astype(np.int64) % (2 * GRAIN + 1) - GRAIN
    pixels: NDArray[np.uint8] = np.clip(_structure(index, shape) + grain, 0, 255).astype(np.uint8)
    return pixels


def _structure(index: int, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Levels of an image from its number: what is drawn, and in which colours."""
    channels, height, width = shape
    across, down = np.arange(width) / width, (np.arange(height) / height)[:, None]
    if index % 6 == 1:
        coarse = _bytes("coarse", index, channels * 64).reshape(channels, 8, 8).astype(np.int64)
        rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
        levels: NDArray[np.int64] = np.take(np.take(coarse, rows, axis=1), columns, axis=2)
        return levels
    start, end = (colour.astype(np.float64) for colour in _bytes("colours", index, 2 * channels).reshape(2, -1, 1, 1))
    halves = 2 * (1 + int(_bytes("turns", index, 1)[0]) % 16)
    share = {
        2: (across + down) / 2,
        3: np.broadcast_to(np.floor(across * halves) % 2, (height, width)),
        4: (np.floor(across * halves) + np.floor(down * halves)) % 2,
        5: np.zeros((height, width)),
    }[index % 6]
    levels = np.floor(start + (end - start) * share + 0.5).astype(np.int64)
    return levels


def _bytes(what: str, index: int, count: int) -> NDArray[np.uint8]:
    """Raw output of a generator, which no version of numpy changes."""
    words = np.random.PCG64(key("export parity", what, index)).random_raw(-(-count // 8))
    found: NDArray[np.uint8] = words.astype("<u8").view(np.uint8)[:count].copy()
    return found


def keyed_pixels(preprocessing: Preprocessing, count: int, first: int = 0) -> NDArray[np.uint8]:
    """(count, height, width, 3): pictures number `first` and on, all of one size, which depends on `first`."""
    across, down = SIZES[first % len(SIZES)]
    height, width = (
        max(1, round(side * factor)) for side, factor in zip(preprocessing.input_size, (down, across), strict=True)
    )
    found = [_pixels(index, (3, height, width)).transpose(1, 2, 0) for index in range(first, first + count)]
    return np.ascontiguousarray(found)


@dataclass(frozen=True)
class Drawn:
    """What a file is compared on: what it is given, and the same as the model itself is given it."""

    given: NDArray[Any]
    images: NDArray[np.float32]


def draw(preprocessing: Preprocessing, pixels: bool, count: int, first: int = 0) -> Drawn:
    """The keyed images, or with `pixels` the keyed pictures and what Pillow and the model's transform make of them."""
    if not pixels:
        images = keyed_images(preprocessing, count, first)
        return Drawn(images, images)
    return seen(preprocessing, keyed_pixels(preprocessing, count, first))


def seen(preprocessing: Preprocessing, pictures: NDArray[np.uint8]) -> Drawn:
    """Pictures (n, height, width, 3), and what Pillow and the model's transform make of them."""
    from transferkit.model.preprocessing import Preprocess

    preprocess = Preprocess(preprocessing)
    return Drawn(pictures, np.stack([preprocess(Image.fromarray(one)).numpy() for one in pictures]))


def digest(images: NDArray[Any]) -> str:
    """The SHA-256 of a batch's values."""
    plain = images if images.dtype == np.uint8 else images.astype("<f4", copy=False)
    return hashlib.sha256(np.ascontiguousarray(plain).tobytes()).hexdigest()


def expect(graph: Graph, images: NDArray[np.float32]) -> Expected:
    """What the eager model answers."""
    import torch

    given = torch.from_numpy(images)
    with torch.no_grad():
        found = dict(zip(graph.outputs, graph(given), strict=True))
        outputs = {name: value.numpy() for name, value in found.items()}
        ties = _near_tie(outputs["logits"])
        source_ties = np.zeros(len(images), dtype=bool)
        if graph.guarded:
            whole: Any = graph.whole
            candidates, among = whole.candidates(given)
            source_ties = _near_tie(candidates.numpy(), among.numpy())
    return Expected(outputs, ties, source_ties)


def tolerance(values: NDArray[Any]) -> float:
    """What logits and scores may differ by: 1e-4 up to magnitudes of 10, and in proportion beyond."""
    return TOLERANCE * max(1.0, float(np.abs(values).max(initial=0.0)) / LARGE)


def _near_tie(logits: NDArray[Any], among: NDArray[Any] | None = None) -> NDArray[np.bool_]:
    """(n, K) -> (n,): whether the two largest differ by no more than two tolerances."""
    allowed = 2 * tolerance(logits)
    chosen = logits if among is None else logits[:, among]
    if chosen.shape[1] < 2:
        return np.zeros(len(chosen), dtype=bool)
    best = np.sort(chosen, axis=1)
    near: NDArray[np.bool_] = best[:, -1] - best[:, -2] <= allowed
    return near


def compare(expected: Expected, found: Mapping[str, NDArray[Any]], what: str) -> Agreement:
    """How far the answers agree. Raises ParityError, naming what differs, where that is too much."""
    outputs, n = expected.outputs, len(expected.outputs["logits"])
    for name, value in outputs.items():
        other = found.get(name)
        if other is None or other.shape != value.shape or other.dtype != value.dtype:
            shown = "nothing" if other is None else f"{other.dtype} {list(other.shape)}"
            raise ParityError(f'{what}: "{name}" is {shown} instead of {value.dtype} {list(value.shape)}')
    allowed = tolerance(outputs["logits"])
    difference = _differ(outputs, found, "logits", allowed, what)
    classes, ties = (outputs["logits"].argmax(1), found["logits"].argmax(1)), expected.class_tie
    _same_class(*classes, ties, f"{what}: another class")
    if "score" not in outputs:
        return Agreement(n, allowed, difference, class_ties=int(ties.sum()))
    score = _differ(outputs, found, "score", tolerance(outputs["score"]), what)
    source_ties = expected.source_class_tie
    _same_class(outputs["source_class"], found["source_class"], source_ties, f"{what}: another source class")
    return Agreement(n, allowed, difference, score, int(ties.sum()), int(source_ties.sum()))


def _differ(
    expected: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]], name: str, allowed: float, what: str
) -> float:
    difference = float(np.abs(expected[name].astype(np.float64) - found[name]).max(initial=0.0))
    if not difference <= allowed:
        raise ParityError(f"{what}: {name} differ by {difference:.2g}; allowed are {allowed:.2g}")
    return difference


def _same_class(expected: NDArray[Any], found: NDArray[Any], exempt: NDArray[np.bool_], what: str) -> None:
    wrong = int(((expected != found) & ~exempt).sum())
    if wrong:
        raise ParityError(f"{what} on {wrong} of {len(expected)} rows")


def compare_all(
    graph: Graph,
    run: Runner,
    preprocessing: Preprocessing,
    sizes: Sequence[int],
    step: Callable[[str], None],
    *,
    pixels: bool = False,
) -> list[Agreement]:
    """The agreement of every batch size, each on images of its own. Raises ParityError."""
    found: list[Agreement] = []
    first = 0
    for size in sizes:
        step(f"comparing a batch of {size} with the model")
        drawn = draw(preprocessing, pixels, size, first)
        found.append(compare(expect(graph, drawn.images), run(drawn.given), f"in a batch of {size}"))
        first += size
    return found


def reference(graph: Graph, preprocessing: Preprocessing, *, pixels: bool = False) -> dict[str, Any]:
    """The eager answers to the first keyed images, to be checked wherever the file is loaded."""
    drawn = draw(preprocessing, pixels, REFERENCE)
    expected = expect(graph, drawn.images)
    ties = {"class_tie": expected.class_tie.tolist(), "source_class_tie": expected.source_class_tie.tolist()}
    return stored(drawn.given, expected.outputs) | ties


def stored(given: NDArray[Any], outputs: Arrays) -> dict[str, Any]:
    """Answers to drawn images as they are kept in a record; none of them is a tie."""
    return {
        "images": len(given),
        "images_sha256": digest(given),
        "outputs": {name: _exact(value) for name, value in outputs.items()},
        "class_tie": [False] * len(given),
        "source_class_tie": [False] * len(given),
    }


def _exact(values: NDArray[Any]) -> Any:
    """Nested lists; nine digits hold every float32."""
    if values.dtype.kind != "f":
        return values.tolist()
    return [_exact(row) for row in values] if values.ndim > 1 else [float(f"{value:.9g}") for value in values]


def recorded(
    preprocessing: Preprocessing, stored: Mapping[str, Any], most: int, *, pixels: bool = False
) -> tuple[NDArray[Any], Expected]:
    """The images of a stored `reference`, or its pixels, at most so many, and the answers to them.

    Raises InputError where this machine draws other images; KeyError, TypeError or ValueError for other content.
    """
    images = draw(preprocessing, pixels, stored["images"]).given
    if digest(images) != stored["images_sha256"]:
        raise InputError("the images an export was checked on cannot be drawn again on this machine")
    return images[:most], expected_of(stored, min(most, len(images)))


def expected_of(stored: Mapping[str, Any], count: int) -> Expected:
    """The inverse of `reference`, for the first `count` images."""
    outputs = {
        name: np.array(value, dtype=np.int64 if name == "source_class" else np.float32)[:count]
        for name, value in stored["outputs"].items()
    }
    ties = (np.array(stored[name], dtype=bool)[:count] for name in ("class_tie", "source_class_tie"))
    return Expected(outputs, *ties)
