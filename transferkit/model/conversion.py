"""A file of torch.save made into safetensors. Another process opens it (`unpickling`): this one never does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from transferkit.errors import InputError
from transferkit.model.creation import build
from transferkit.model.tensor_names import Cleaned, cleaned
from transferkit.model.weights import plain, read_tensors, save_tensors
from transferkit.recipe import schema
from transferkit.system.atomic import aside, fsync, storing
from transferkit.system.records import require_file

PROGRAM = Path(__file__).with_name("unpickling.py")
ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".tar", ".pkl")


@dataclass
class Converted:
    """What a file held and what became of it.

    `key` is the path of the state dict in the file, empty where the file is one; `state_dicts` are those that are large
    enough to be another model, with their numbers of tensors; `entries` what else stands beside, with numbers of
    tensors; `classes` those that were emptied; `prefixes` what names began with; `left_out` names of tensors.
    """

    file: str
    out: str
    key: str
    tensors: int
    state_dicts: dict[str, int]
    entries: dict[str, int]
    classes: list[str]
    prefixes: list[str]
    left_out: list[str]
    architecture: str | None = None
    said: list[str] = field(default_factory=list)


def convert(file: Path, out: Path, *, key: str = "", architecture: str | None = None) -> Converted:
    """Write the state dict in `file` to `out`, in plain names, whole or not at all.

    With an architecture the tensors must be a timm model's, and are written under its names. Raises InputError for
    what is no such file, for weights that do not fit, and where `out` exists; StorageError where it cannot be written.
    """
    require_file(file, "there is no such file")
    if os.path.lexists(out):
        raise InputError(f"{out} exists already; remove it, or give another name")
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}")
    raw, made = aside(out.with_name(f"raw-{out.name}")), aside(out)
    try:
        found = _opened_elsewhere(file, key, raw)
        clean = cleaned(read_tensors(raw))
        state, said = clean.state, list[str]()
        with storing(str(out)):
            save_tensors(state, made)
            if architecture is not None:
                state, said = _of(architecture, made, file)
                save_tensors(state, made)
            fsync(made)
            os.replace(made, out)
    finally:
        for path in (raw, made):
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return _answer(file, out, found, clean, len(state), architecture, said)


def _answer(
    file: Path,
    out: Path,
    found: dict[str, Any],
    clean: Cleaned,
    count: int,
    architecture: str | None,
    said: list[str],
) -> Converted:
    return Converted(
        file=str(file),
        out=str(out),
        key=found["key"],
        tensors=count,
        state_dicts=found["state_dicts"],
        entries=found["entries"],
        classes=found["classes"],
        prefixes=clean.prefixes,
        left_out=[*clean.left_out, *found["odd"]],
        architecture=architecture,
        said=said,
    )


def _opened_elsewhere(file: Path, key: str, raw: Path) -> dict[str, Any]:
    """What the other process says; its tensors are in `raw` then."""
    command = [sys.executable, "-P", str(PROGRAM), str(file), key, str(raw)]  # -P: no import from its own folder
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        why = "memory may not suffice" if done.returncode == -9 else last
        raise InputError(f"{file}: the process that opened it failed: {why}") from None
    if "error" in answer:
        raise InputError(f"{file}: no state dict could be read from it: {answer['error']}")
    return answer


def _of(architecture: str, made: Path, file: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors as the timm model of that name has them, and what was said on the way."""
    said: list[str] = []
    try:
        spec = schema.Model(name=architecture)
        model, _ = build(spec, weights=made, source_classes=None, classes=None, say=said.append)
    except InputError as error:
        problems = [_about(one, made, file) for one in error.problems]
        raise InputError(problems, _named(error.summary, made, file)) from error
    return plain(model.net.state_dict()), [str(_named(text, made, file)) for text in said]


def _about(problem: Any, made: Path, file: Path) -> Any:
    from dataclasses import replace

    where, message = (_named(text, made, file) for text in (problem.where, problem.message))
    return replace(problem, where=where, message=message)


def _named(text: str | None, made: Path, file: Path) -> str | None:
    return None if text is None else text.replace(str(made), str(file))
