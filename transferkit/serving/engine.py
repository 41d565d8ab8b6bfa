"""What computes: the eager model on any device, or its exported graph in ONNX Runtime on a CPU; and whether it does.

An engine is called from several threads at once, with a batch of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.deploy import parity
from transferkit.deploy.loaded import LoadedModel
from transferkit.deploy.portable import Graph
from transferkit.errors import InputError
from transferkit.serving.settings import Settings

ONNX = Path("exports") / "model.onnx"
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
    """Images (n, C, H, W) on the CPU -> Outputs."""

    name: str
    device: str

    def __call__(self, images: Tensor) -> Outputs:
        """Compute; safe to call from several threads."""


def each(engine: Engine, images: Sequence[Tensor]) -> list[Outputs]:
    """Images (C, H, W) in one pass -> a batch of one for each."""
    outputs = engine(torch.stack(list(images)))
    places = (slice(place, place + 1) for place in range(len(images)))
    return [Outputs(*(None if part is None else part[one] for part in outputs)) for one in places]  # type: ignore[arg-type]


class TorchEngine:
    """The model itself, where it is."""

    name = "torch"

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self.device = loaded.device.type

    def __call__(self, images: Tensor) -> Outputs:
        """One eager pass."""
        found = self._loaded(images)
        return Outputs(
            found.logits.cpu().numpy(),
            None if found.score is None else found.score.float().cpu().numpy(),
            None if found.source_class is None else found.source_class.cpu().numpy(),
        )


class OnnxEngine:
    """A graph made by `transferkit export`, one thread per call. Raises InputError for what is not such a graph."""

    name = "onnx"
    device = "cpu"

    def __init__(self, path: Path, guarded: bool) -> None:
        from transferkit.deploy.portable import open_onnx

        try:
            self._run = open_onnx(path, threads=1)
        except Exception as error:  # onnxruntime has a dozen classes for it
            raise InputError(f"{path}: ONNX Runtime cannot open it: {str(error)[:300]}; export it anew") from None
        self._outputs = Outputs._fields if guarded else Outputs._fields[:1]

    def __call__(self, images: Tensor) -> Outputs:
        """One run on the calling thread."""
        found = self._run(images.numpy())
        return Outputs(*(found[name] if name in self._outputs else None for name in Outputs._fields))  # type: ignore[arg-type]


class AnswerCheck:
    """The images and the eager model's answers to them, kept for as long as the server runs."""

    def __init__(self, loaded: LoadedModel) -> None:
        images = parity.keyed_images(loaded.model.preprocessing, parity.REFERENCE)
        self.images: Tensor = torch.from_numpy(images)
        self._expected = parity.expect(Graph(loaded), images)

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


def choose(
    folder: Path, loaded: LoadedModel, parity: AnswerCheck, settings: Settings, note: Callable[[str], None]
) -> Engine:
    """The engine that is asked for. `auto`: torch on a GPU, else an exported graph if it is this model's, else torch.

    Moves the model to its device. Raises InputError where what is asked for cannot be had.
    """
    device = _device(settings.device)
    if settings.engine == "onnx" or (settings.engine == "auto" and device == "cpu" and (folder / ONNX).is_file()):
        try:
            return _onnx(folder, loaded, parity)
        except InputError as error:
            if settings.engine == "onnx":
                raise
            note(f"{error}. Until then the model runs in torch")
    loaded.to(device)
    engine = TorchEngine(loaded)
    problem = parity.problem(engine(parity.images), engine.device)
    if problem is not None:
        raise InputError(f"{folder}: not usable on {device}; {problem}")
    return engine


def _onnx(folder: Path, loaded: LoadedModel, parity: AnswerCheck) -> OnnxEngine:
    """The exported graph, after it answered as the model does."""
    path = folder / ONNX
    if not path.is_file():
        raise InputError(f"{path} does not exist; make it with `transferkit export {folder} --format onnx`")
    if find_spec("onnxruntime") is None:
        raise InputError('onnxruntime is not installed; install the extra: pip install "transferkit[serve]"')
    engine = OnnxEngine(path, loaded.guarded)
    try:
        problem = parity.problem(engine(parity.images), engine.device)
    except Exception as error:
        problem = str(error)[:300]
    if problem is not None:
        raise InputError(f"{path}: not the graph of this model ({problem}); export it anew")
    return engine


def _device(asked: str) -> str:
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f'--device "{asked}" cannot be used here: {str(error).splitlines()[0]}') from None
    return asked
