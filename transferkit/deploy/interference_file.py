"""`interference.json`: what a model's detector watches, from which score on it flags, and what that promises.

The file names every other file of the detector with its SHA-256, and carries its own; nothing is used that differs
from it. No torch is needed to read it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.atomic import fsync, sha256
from transferkit.deploy.head_check import check_head
from transferkit.deploy.interference import HEADS, Calibration, Guarantee, Interference, LingeringClass, Score
from transferkit.deploy.interference_reader import parse_interference
from transferkit.errors import InputError
from transferkit.records import check_seal, check_sha256, require_file, seal
from transferkit.report import finite, write_json

if TYPE_CHECKING:
    from transferkit.model.wrapper import SourceHead

__all__ = [
    "Calibration",
    "Guarantee",
    "Interference",
    "LingeringClass",
    "Score",
    "read_interference",
    "write_interference",
]

FILE = "interference.json"
SOURCE_MODEL = "source_model"
OWN = ("model.safetensors", "config.json")


def read_interference(folder: Path | str) -> Interference | None:
    """What the folder's detector is, after every file it depends on was compared with its hash; None without one.

    Raises InputError, in one sentence, for a file that is damaged, changed, missing, of a newer schema or does not
    fit the model.
    """
    folder = Path(folder)
    path = folder / FILE
    if not os.path.lexists(path):
        _refuse_half(folder)
        return None
    require_file(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not JSON: {error}; {AGAIN}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}; {AGAIN}") from error
    if isinstance(content, dict):
        check_seal(content, path, AGAIN)
    found = parse_interference(content, str(path))
    if found.head_file is not None:
        check_head(folder, found.head_file, len(found.source_classes))
    _compare(folder, found)
    return found


def write_interference(
    folder: Path | str, interference: Interference, head: SourceHead | None = None, source_model: Path | None = None
) -> Path:
    """Make the folder's model a guarded one and return the path of `interference.json`, which is written last.

    `refitted` needs the head and writes it; `swapped` uses the folder's source head, or writes this one where there
    is none; `separate` needs the folder of the source model and copies its files. `files` and `schema_version` of
    `interference` are filled in here. Raises InputError where something is missing or does not fit.
    """
    folder = Path(folder)
    for name in OWN:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: not a model folder: there is no {name} in it")
    if interference.head_file is None:
        _copy_source(folder, source_model)
    else:
        _write_head(folder, interference, head)
    hashes = {name: sha256(folder / name) for name in _files(interference)}
    content = seal(finite(interference.to_json() | {"files": hashes}))
    checked = parse_interference(content, str(folder / FILE))
    if checked.head_file is not None:
        check_head(folder, checked.head_file, len(checked.source_classes))
    write_json(folder / FILE, content)
    return folder / FILE


AGAIN = "make it anew with the interference analyzer"


def _refuse_half(folder: Path) -> None:
    """A detector's own files without its description: the model would go unguarded without anybody knowing."""
    for name in (HEADS["refitted"], SOURCE_MODEL):
        if (folder / str(name)).exists():
            raise InputError(
                f"{folder}: has {name} of a detector and no {FILE}; copy that too, or remove {name} to use the model "
                "without a detector"
            )


def _files(interference: Interference) -> list[str]:
    """The files whose content the detector depends on, as paths below the model folder."""
    head = interference.head_file
    return [*OWN, head] if head is not None else [*OWN, *(f"{SOURCE_MODEL}/{name}" for name in OWN)]


def _compare(folder: Path, found: Interference) -> None:
    """Raise InputError for the first file that is not the one the detector was made for."""
    for name in _files(found):
        expected = found.files.get(name)
        if expected is None:
            raise InputError(f"{folder / FILE}: has no SHA-256 of {name}; {AGAIN}")
        check_sha256(
            folder / name,
            expected,
            record=FILE,
            what="the file that the detector was made for",
            advice="restore it, or make the detector anew with the interference analyzer",
        )


def _write_head(folder: Path, interference: Interference, head: SourceHead | None) -> None:
    path = folder / str(interference.head_file)
    if interference.score.model == "swapped" and path.exists():
        _same_head(path, head)
        return
    if head is None:
        raise InputError(f"{folder}: the score of the {interference.score.model} model needs a head, and there is none")
    from safetensors.torch import save_file

    tensors = {"weight": head.weight} | ({} if head.bias is None else {"bias": head.bias})
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    temporary = path.with_name(f".{path.name}.part")
    try:
        save_file(plain, str(temporary), metadata={"format": "pt"})
        temporary.chmod(0o644)
        fsync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _same_head(path: Path, head: SourceHead | None) -> None:
    """Raise InputError where a head is given that is not the one in the file."""
    import torch

    from transferkit.model_folder import read_source_head

    known = read_source_head(path)
    pairs = [] if head is None else [(known.weight, head.weight), (known.bias, head.bias)]
    for ours, theirs in pairs:
        if (ours is None) != (theirs is None) or (
            ours is not None and theirs is not None and not torch.equal(ours, theirs.detach().cpu())
        ):
            raise InputError(f"{path}: another head than the one to be used for the swapped score")


def _copy_source(folder: Path, source_model: Path | None) -> None:
    place = folder / SOURCE_MODEL
    if source_model is None or not all((source_model / name).is_file() for name in OWN):
        raise InputError(
            f"{folder}: a separate source model needs the folder of that model, and {source_model} is none"
        )
    if place.exists() and place.samefile(source_model):
        return
    work = Path(tempfile.mkdtemp(prefix=f".{SOURCE_MODEL}-", dir=folder))
    try:
        work.chmod(0o755)
        for name in OWN:
            shutil.copyfile(source_model / name, work / name)
            fsync(work / name)
        if place.exists():
            shutil.rmtree(place)
        work.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
