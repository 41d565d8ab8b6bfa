"""What can befall a file: one bit flips, half of it or all is lost, something else lies in its place."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.world import TIMED


def flip(path: Path, salt: int) -> None:
    """One bit of it, drawn by the file's name."""
    content = bytearray(path.read_bytes())
    if content:
        place = random.Random(f"{path.name} {salt}").randrange(8 * len(content))
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)


def halve(path: Path, salt: int) -> None:
    """What a disk that filled up leaves."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path, salt: int) -> None:
    """What a lost journal leaves."""
    os.truncate(path, 0)


def delete(path: Path, salt: int) -> None:
    """Gone."""
    path.unlink()


def other_kind(path: Path, salt: int) -> None:
    """JSON, but not the kind that is asked for; no YAML mapping and no tensors either."""
    path.write_text("[]")


def folder(path: Path, salt: int) -> None:
    """A folder of that name."""
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path, int], None]] = {
    "a bit flipped": flip,
    "cut to half": halve,
    "emptied": empty,
    "deleted": delete,
    "replaced by []": other_kind,
    "replaced by a folder": folder,
}


def kinds(run: Path) -> dict[str, Path]:
    """One file of every kind in a run: the newest of those whose paths differ in numbers only, by that path."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    return {re.sub(r"\d+", "N", str(path.relative_to(run))): path.relative_to(run) for path in files}


def mixed(cases: list[Any]) -> list[Any]:
    """In an order in which every sample at a regular distance has cases of all kinds."""
    return random.Random(0).sample(cases, len(cases))


def restore(whole: Path, hurt: Path) -> None:
    """`hurt` is `whole` once more."""
    shutil.rmtree(hurt, ignore_errors=True)
    shutil.copytree(whole, hurt)


def answer(said: str) -> Any:
    """The JSON in what a command said, without times and places; all of it where there is none."""
    start = re.search(r"^[{\[]", said, flags=re.MULTILINE)
    if start is None:
        return said
    try:
        return _timeless(json.JSONDecoder().raw_decode(said[start.start() :])[0])
    except ValueError:
        return said


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMED | {"time", "report", "path"}}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
