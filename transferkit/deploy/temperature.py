"""`calibration.json`: the temperature by which a model's logits are divided so that its probabilities can be believed.

It names the model's own files by SHA-256 and carries its own. Nothing reads it unless calibrated answers are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from transferkit.deploy.interference import OWN, Count, Sha256
from transferkit.errors import InputError
from transferkit.report import finite, write_json
from transferkit.surface import __version__
from transferkit.system.atomic import sha256
from transferkit.system.records import check_sha256, parse, read_sealed, seal

FILE = "calibration.json"
SCHEMA_VERSION = 1
AGAIN = "fit it anew with the temperature analyzer"


@dataclass(frozen=True)
class Temperature:
    """Probabilities are the softmax of logits / `temperature`; above 1 they are less sure than the model says.

    `images` is on how many it was fitted, `measured` what it changed, by name.
    """

    temperature: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    images: Count
    measured: Mapping[str, float | None] = field(default_factory=dict)
    files: Mapping[str, Sha256] = field(default_factory=dict)
    created_by: str = __version__
    schema_version: Count = SCHEMA_VERSION


def write_temperature(folder: Path | str, fitted: Temperature) -> Path:
    """Put it into a model folder; `files` is filled in. Raises InputError where the folder holds no model."""
    folder = Path(folder)
    for name in OWN:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: not a model folder: there is no {name} in it")
    content: dict[str, Any] = asdict(fitted) | {"files": {name: sha256(folder / name) for name in OWN}}
    content = seal(finite(content))
    _parse(content, folder / FILE)
    write_json(folder / FILE, content)
    return folder / FILE


def read_temperature(folder: Path | str) -> Temperature:
    """The temperature of a model folder, which must be just the model that it was fitted for.

    Raises InputError, in one sentence, where there is none, or it is damaged, changed, newer, or of another model.
    """
    folder = Path(folder)
    path = folder / FILE
    if not os.path.lexists(path):
        raise InputError(
            f"{folder} has no {FILE}, so no calibrated answers; the temperature analyzer makes one, with its option "
            "install: true"
        )
    found = _parse(read_sealed(path, SCHEMA_VERSION, AGAIN), path)
    for name in OWN:
        if name not in found.files:
            raise InputError(f"{path}: has no SHA-256 of {name}; {AGAIN}")
        check_sha256(
            folder / name, found.files[name], record=FILE, what="the file that it was fitted for", advice=AGAIN
        )
    return found


def _parse(content: dict[str, Any], path: Path) -> Temperature:
    stated = {key: value for key, value in content.items() if key != "sha256"}
    return parse(stated, Temperature, path, AGAIN, strict=None)
