"""Weights in several files: `model.safetensors.index.json`, and `model-00001-of-00003.safetensors` beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from transferkit.errors import InputError
from transferkit.system.atomic import read_json

INDEX = ".safetensors.index.json"
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors")


def shards(path: str | Path) -> list[Path]:
    """The files that hold the tensors of a weights file: itself, or all that an index or a shard belongs to.

    Raises InputError for an index that cannot be read or names anything but files beside it, and for missing shards.
    """
    path = Path(path)
    found = [path]
    if path.name.lower().endswith(INDEX) and not os.path.isdir(path):
        found = [path.parent / name for name in sorted(set(named(path).values()))]
    elif match := SHARD.fullmatch(path.name):
        stem, _, total = match.groups()
        found = [path.parent / f"{stem}-{number:05d}-of-{total}.safetensors" for number in range(1, int(total) + 1)]
    else:
        return found
    missing = [shard.name for shard in found if not os.path.isfile(shard)]
    if missing:
        more = f", … and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(
            f"{path}: {len(missing)} of the {len(found)} files that belong together are not in its folder: "
            f"{', '.join(missing[:5])}{more}"
        )
    return found


def named(index: Path) -> dict[str, str]:
    """{tensor: file} of an index. Raises InputError where it is none, or where a file is not one beside it."""
    told = read_json(index).get("weight_map")
    if not isinstance(told, dict) or not told:
        raise InputError(f'{index}: no index of weights: it has no "weight_map" of tensors and files')
    for file in told.values():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise InputError(f"{index}: {file!r} is no .safetensors file beside it")
    return told
