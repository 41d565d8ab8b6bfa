"""An exports folder: its files, which move in when they are complete, and their record `export.json`.

The record says what each file answers to and how closely it was seen to agree; all are of one and the same model.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from transferkit.deploy.interference import FILE as INTERFERENCE
from transferkit.deploy.interference import OWN, Interference
from transferkit.deploy.temperature import read_temperature
from transferkit.deploy.variants import FORMATS
from transferkit.errors import InputError
from transferkit.report import finite, json_text
from transferkit.surface import __version__
from transferkit.system.atomic import aside, fsync, remove_leftovers, sha256, write_text
from transferkit.system.records import SEAL, check_sha256, parse, read_sealed, seal

FILE = "export.json"
FOLDER = "exports"
SCHEMA_VERSION = 2
PLAIN_VERSION = 1  # of a record of float32 graphs of floats alone, which older versions read too
AGAIN = "export the model again"
PREDICT = Path(__file__).with_name("beside") / "predict.py"
"""A script that is copied beside the files: it needs their runtime, Pillow and NumPy alone."""

TRITON_FILE = "config.pbtxt"
TRITON_TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}

TRITON_HEAD = """\
# A model of a Triton model repository, whose folder gives it its name:
#   mkdir -p repository/NAME/1
#   cp {file} repository/NAME/1/model.onnx
#   cp config.pbtxt repository/NAME/
#   tritonserver --model-repository repository
"""


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class Tensor(_Part):
    """An input or output. The first dimension is the batch."""

    name: str
    dtype: Literal["float32", "int64", "uint8"]
    shape: list[int | str]


class Batch(_Part):
    """The batch sizes a file is for. An ONNX graph does not enforce the largest; whoever runs it must."""

    min: int
    max: int
    enforced: bool


class Parity(_Part):
    """How far the file agreed with the eager model: an entry per batch size (see `parity.Agreement`)."""

    rows: int
    logits: float
    score: float | None
    batches: list[dict[str, Any]]


class ExportedFile(_Part):
    """One exported file. `inputs`: its own, where they are not those of the record.

    `temperature`: what its logits are divided by, inside the graph; None where they are the model's own.
    """

    file: str
    inputs: list[Tensor] | None = None
    temperature: float | None = None
    sha256: str
    bytes: int
    batch: Batch
    opset: int | None = None
    ir_version: int | None = None
    versions: dict[str, str]
    parity: Parity
    reference: dict[str, Any]


class ExportRecord(_Part):
    """The content of export.json. `files`: of the model folder that was exported, with their SHA-256."""

    schema_version: int = SCHEMA_VERSION
    created_by: str = __version__
    architecture: str
    files: dict[str, str]
    guarded: bool
    inputs: list[Tensor]
    outputs: list[Tensor]
    preprocessing: dict[str, Any]
    classes: list[str]
    source_classes: list[str]
    lingering: list[dict[str, Any]]
    score: dict[str, str] | None
    detect_p: float | None
    exports: dict[str, ExportedFile] = Field(default_factory=dict)
    """By `Variant.key`."""

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, in their order."""
        return [one.name for one in self.outputs]

    def facts(self) -> str:
        """What also goes into the exported files themselves, as JSON: everything but `exports`."""
        return json_text(self.model_dump(exclude={"exports", SEAL}))

    def content(self) -> dict[str, Any]:
        """What the file holds, with the SHA-256 of all the rest of it."""
        plain = set(self.exports) <= set(FORMATS)
        version = PLAIN_VERSION if plain else SCHEMA_VERSION
        return seal(finite(self.model_dump() | {"schema_version": version}))


def read_record(folder: Path | str) -> ExportRecord | None:
    """The record of an exports folder; None without one. Raises InputError for one that cannot be read."""
    path = Path(folder) / FILE
    if not os.path.lexists(path):
        return None
    return parse(read_sealed(path, SCHEMA_VERSION, AGAIN), ExportRecord, path, AGAIN)


def model_files(folder: Path, interference: Interference | None) -> dict[str, str]:
    """The SHA-256 of every file of the model folder that the exported graph depends on."""
    names = OWN if interference is None else dict.fromkeys((*OWN, INTERFERENCE, *interference.depends_on))
    return {name: sha256(folder / name) for name in names}


def check_file(folder: Path, entry: ExportedFile) -> Path:
    """The exported file. Raises InputError when it is missing or not the one that was written."""
    path = folder / entry.file
    check_sha256(path, entry.sha256, record=FILE, what="the file that was exported", advice=AGAIN)
    return path


def check_model(record: ExportRecord, model_dir: Path) -> None:
    """Raise InputError when the files of the model folder are no longer those that were exported."""
    for name, expected in record.files.items():
        path = model_dir / name
        if not path.is_file() or sha256(path) != expected:
            raise InputError(f"{path}: changed since the model was exported; {AGAIN}")
    if not record.guarded and (model_dir / INTERFERENCE).exists():
        raise InputError(f"{model_dir}: has got a detector since the model was exported; {AGAIN}")


def check_temperature(entry: ExportedFile, model_dir: Path) -> None:
    """Raise InputError when the file's logits are divided by another temperature than the model folder has now."""
    if entry.temperature is None:
        return
    now = read_temperature(model_dir).temperature
    if entry.temperature != now:
        raise InputError(
            f"{entry.file} divides logits by {entry.temperature:g}, and the temperature of {model_dir} is {now:g}; "
            f"{AGAIN}"
        )


@contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, on the same disk; it is gone afterwards. Raises InputError."""
    place = target.absolute().parent
    while not place.is_dir():
        place = place.parent
    remove_leftovers(place, target.name)
    try:
        work = Path(tempfile.mkdtemp(prefix=f"{aside(target).name}-", dir=place))
    except OSError as error:
        raise InputError(f"{place} cannot be written ({error.strerror}); choose another folder with --out") from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def publish(
    work: Path, target: Path, record: ExportRecord, entries: Mapping[str, ExportedFile]
) -> tuple[ExportRecord, list[Path]]:
    """Move the files from `work` into place, the record last. Returns the whole record and what was removed.

    Removed are other files that are of another state of the model. Raises InputError.
    """
    kept, stale = _others(target, entries, record)
    full = record.model_copy(update={"exports": {**kept, **entries}})
    try:
        for entry in entries.values():
            (work / entry.file).chmod(0o644)
            fsync(work / entry.file)
        target.mkdir(parents=True, exist_ok=True)
        for old in stale:
            old.unlink(missing_ok=True)
        for entry in entries.values():
            os.replace(work / entry.file, target / entry.file)
        if (plain := entries.get("onnx") or entries.get("onnx_calibrated")) is not None:
            inputs, outputs = ([one.model_dump() for one in side] for side in (record.inputs, record.outputs))
            write_text(target / TRITON_FILE, triton_config(plain.file, inputs, outputs, plain.batch.max))
        shutil.copyfile(PREDICT, target / PREDICT.name)
        write_text(target / FILE, json_text(full.content(), indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}") from error
    return full, stale


def _others(target: Path, new: Container[str], record: ExportRecord) -> tuple[dict[str, ExportedFile], list[Path]]:
    """Other entries of the folder that are of the same model, and the files of those that are not."""
    try:
        old = read_record(target)
    except InputError:
        old = None
    kept: dict[str, ExportedFile] = {}
    stale: list[Path] = []
    for name, entry in (old.exports if old is not None else {}).items():
        with suppress(InputError):
            path = check_file(target, entry)
            if name not in new and old is not None and old.files == record.files:
                kept[name] = entry
            elif name not in new:
                stale.append(path)
    return kept, stale


def triton_config(
    file: str, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]], max_batch: int
) -> str:
    """The text of config.pbtxt, with which NVIDIA's Triton Inference Server takes the exported ONNX file.

    Shapes are those of the record, the first dimension being the batch.
    """
    parts = [
        TRITON_HEAD.format(file=file) + 'backend: "onnxruntime"',
        f"max_batch_size: {max_batch}",
        *(f"input [\n{_triton_tensor(one)}\n]" for one in inputs),
        *(f"output [\n{_triton_tensor(one)}\n]" for one in outputs),
        "dynamic_batching { }",
    ]
    return "\n".join(parts) + "\n"


def _triton_tensor(one: Mapping[str, Any]) -> str:
    lines = [f'name: "{one["name"]}"', f"data_type: {TRITON_TYPES[one['dtype']]}"]
    rest = one["shape"][1:]
    lines.append(f"dims: [ {', '.join(map(str, rest or [1]))} ]")
    if not rest:
        lines.append("reshape { shape: [ ] }")  # Triton knows no tensor without a dimension beside the batch
    body = "\n".join(f"    {line}" for line in lines)
    return f"  {{\n{body}\n  }}"
