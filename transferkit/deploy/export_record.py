"""`export.json`: what lies in an exports folder, what each file answers to and how closely it was seen to agree.

One record for all files of the folder, which are of one and the same model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import transferkit
from transferkit.atomic import sha256
from transferkit.deploy.file_check import check_sha256
from transferkit.deploy.interference_file import FILE as INTERFERENCE
from transferkit.deploy.interference_file import OWN, SOURCE_MODEL, Interference
from transferkit.errors import InputError
from transferkit.report import json_text

FILE = "export.json"
FOLDER = "exports"
SCHEMA_VERSION = 1
AGAIN = "export the model again"


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class Tensor(_Part):
    """An input or output. The first dimension is the batch."""

    name: str
    dtype: Literal["float32", "int64"]
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
    """One exported file."""

    file: str
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
    created_by: str = transferkit.__version__
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
    exports: dict[Literal["onnx", "pt2"], ExportedFile] = Field(default_factory=dict)

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, in their order."""
        return [one.name for one in self.outputs]

    def facts(self) -> str:
        """What also goes into the exported files themselves, as JSON: everything but `exports`."""
        return json_text(self.model_dump(exclude={"exports"}))

    def text(self) -> str:
        """The content of the file."""
        return json_text(self.model_dump(), indent=1) + "\n"


def read_record(folder: Path | str) -> ExportRecord | None:
    """The record of an exports folder; None without one. Raises InputError for one that cannot be read."""
    path = Path(folder) / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}; {AGAIN}") from error
    found = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema version {found}, written by transferkit {content.get('created_by', '?')}; this version "
            f"reads up to {SCHEMA_VERSION}: upgrade transferkit"
        )
    try:
        return ExportRecord.model_validate(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f'{path}: "{place}": {first["msg"]}; {AGAIN}') from error


def model_files(folder: Path, interference: Interference | None) -> dict[str, str]:
    """The SHA-256 of every file of the model folder that the exported graph depends on."""
    names: Sequence[str] = OWN
    if interference is not None:
        head = interference.head_file
        names = (*OWN, INTERFERENCE, *([head] if head else (f"{SOURCE_MODEL}/{name}" for name in OWN)))
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
