"""`export.json`: what lies in an exports folder, what each file answers to and how closely it was seen to agree.

One record for all files of the folder, which are of one and the same model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

import transferkit
from transferkit.atomic import read_json, sha256
from transferkit.deploy.interference_file import FILE as INTERFERENCE
from transferkit.deploy.interference_file import OWN, SOURCE_MODEL, Interference
from transferkit.errors import InputError
from transferkit.records import SEAL, check_seal, check_sha256, check_version, parse, require_file, seal
from transferkit.report import finite, json_text

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
        return json_text(self.model_dump(exclude={"exports", SEAL}))

    def content(self) -> dict[str, Any]:
        """What the file holds, with the SHA-256 of all the rest of it."""
        return seal(finite(self.model_dump()))

    def text(self) -> str:
        """The same as the file's text."""
        return json_text(self.content(), indent=1) + "\n"


def read_record(folder: Path | str) -> ExportRecord | None:
    """The record of an exports folder; None without one. Raises InputError for one that cannot be read."""
    path = Path(folder) / FILE
    if not os.path.lexists(path):
        return None
    require_file(path)
    content: dict[str, Any] = read_json(path, what=AGAIN)
    check_version(content.get("schema_version"), SCHEMA_VERSION, content.get("created_by", "?"), path)
    check_seal(content, path, AGAIN)
    return parse(content, ExportRecord, path, AGAIN)


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
