"""An exported graph in service: ONNX Runtime, Pillow and NumPy. Neither torch nor timm is loaded.

The record beside the graph says which model it is of, how it sees images, and which answers it must give.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from transferkit.data.plain_transforms import PlainPreprocess
from transferkit.deploy import parity
from transferkit.deploy.export_folder import (
    FILE,
    ExportedFile,
    ExportRecord,
    check_file,
    check_model,
    check_temperature,
    read_record,
)
from transferkit.deploy.interference import read_interference
from transferkit.deploy.onnx_file import open_onnx
from transferkit.errors import InputError
from transferkit.model.preprocessing import Preprocessing
from transferkit.serving.engine import CALIBRATED, ONNX, AnswerCheck, Opened, Outputs, Pixels


class OnnxEngine:
    """A graph made by `transferkit export`, one thread per call. Raises InputError for what is not such a graph."""

    name = "onnx"
    device = "cpu"

    def __init__(self, path: Path, guarded: bool, largest: int | None = None) -> None:
        try:
            self._run = open_onnx(path, threads=1)
        except Exception as error:  # onnxruntime has a dozen classes for it
            raise InputError(f"{path}: ONNX Runtime cannot open it: {str(error)[:300]}; export it anew") from None
        self._outputs = Outputs._fields if guarded else Outputs._fields[:1]
        self.largest = largest

    def __call__(self, images: Pixels) -> Outputs:
        """One run on the calling thread."""
        found = self._run(images)
        return Outputs(*(found[name] if name in self._outputs else None for name in Outputs._fields))  # type: ignore[arg-type]


def graph_of(folder: Path, *, calibrated: bool) -> Path:
    """The exported graph that is served: for calibrated answers the one that is made for them, if it is there."""
    own = folder / CALIBRATED
    return own if calibrated and own.is_file() else folder / ONNX


def open_graph(folder: Path, *, calibrated: bool = False) -> Opened:
    """The model by its exported graph. Raises InputError where there is none, or one of another model."""
    path = graph_of(folder, calibrated=calibrated)
    if not path.is_file():
        raise InputError(f"{path} does not exist; make it with `transferkit export {folder} --format onnx`")
    if find_spec("onnxruntime") is None:
        raise InputError('onnxruntime is not installed; install the extra: pip install "transferkit[serve]"')
    record = read_record(path.parent)
    key = "onnx_calibrated" if path.name == CALIBRATED.name else "onnx"
    entry = None if record is None else record.exports.get(key)
    if record is None or entry is None:
        raise InputError(
            f"{path}: {FILE} beside it says nothing of it, so what it answers to is unknown; export it anew"
        )
    check_file(path.parent, entry)
    check_model(record, folder)
    check_temperature(entry, folder)
    engine = OnnxEngine(path, record.guarded, entry.batch.max)
    preprocessing, check = _recorded(path.parent / FILE, record, entry)
    try:
        problem = check.problem(engine(check.images), engine.device)
    except Exception as error:
        problem = str(error)[:300]
    if problem is not None:
        raise InputError(f"{path}: not the graph of this model ({problem}); export it anew")
    return Opened(
        record.classes,
        read_interference(folder),
        PlainPreprocess(preprocessing),
        engine,
        check,
        calibrated=entry.temperature is not None,
    )


def _recorded(path: Path, record: ExportRecord, entry: ExportedFile) -> tuple[Preprocessing, AnswerCheck]:
    try:
        preprocessing = Preprocessing.from_json(record.preprocessing)
        return preprocessing, AnswerCheck(*parity.recorded(preprocessing, entry.reference, entry.batch.max))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: cannot be used: {error!r}; export the model again") from error
