"""What a weights file holds, read from its header alone: no torch, no tensor data, no pickle.

A safetensors file is an 8-byte length, a JSON header (name -> dtype, shape, offsets) and the raw tensors.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.errors import InputError
from transferkit.system.records import require_file
from transferkit.system.shards import INDEX, named, shards
from transferkit.words.doors import shell

# Bits per element of every dtype the format knows; the sub-byte ones are packed.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
MAX_HEADER = 100_000_000


def conversion(path: Path | str) -> str:
    """What to do with a file of torch.save: a command that writes its tensors to FILE.safetensors."""
    return f"convert it: {shell(converting(path))}"


def converting(path: Path | str) -> str:
    """That command, as a shell takes it."""
    given = str(path)
    return f"transferkit convert {shlex.quote(f'./{given}' if given.startswith('-') else given)}"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file: its dtype as the format names it (F32, BF16, I64, …) and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: str | Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file, or of all files of an index, by name. Raises InputError for anything else."""
    files = shards(path)
    if len(files) == 1 and files[0] == Path(path):
        return _read_header(files[0])
    found: dict[str, TensorInfo] = {}
    for file in files:
        own = _read_header(file)
        if twice := own.keys() & found.keys():
            raise InputError(f'{file}: the tensor "{min(twice)}" is in another of the files that belong together, too')
        found |= own
    if str(path).lower().endswith(INDEX) and (lacking := sorted(named(Path(path)).keys() - found.keys())):
        raise InputError(f'{path}: {len(lacking)} tensors are in none of its files, such as "{lacking[0]}"')
    return found


def _read_header(path: Path) -> dict[str, TensorInfo]:
    header, data_bytes = _read_json(path)
    entries = {name: _entry(path, name, value) for name, value in header.items() if name != "__metadata__"}
    if not entries:
        raise InputError(f"{path}: holds no tensors")
    end = max(end for _, end in entries.values())
    if end > data_bytes:
        raise InputError(
            f"{path}: truncated: the header promises {end:,} bytes of tensors and the file holds {data_bytes:,}; "
            "copy or download it again"
        )
    if end < data_bytes:
        raise _corrupted(path, f"{data_bytes - end:,} bytes follow its last tensor")
    return {name: info for name, (info, _) in entries.items()}


def count_numbers(path: str | Path) -> int:
    """How many numbers all tensors of a safetensors file have together. Raises InputError."""
    return sum(math.prod(info.shape) for info in read_header(path).values())


def _entry(path: Path, name: str, value: Any) -> tuple[TensorInfo, int]:
    """A tensor, and where it ends."""
    try:
        dtype, shape = str(value["dtype"]), tuple(int(size) for size in value["shape"])
        start, end = (int(offset) for offset in value["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupted(path, f'the entry of tensor "{name}" cannot be read') from error
    if min(shape, default=0) < 0 or not 0 <= start <= end:
        raise _corrupted(path, f'tensor "{name}" has an impossible shape or offset')
    if dtype in BITS and math.prod(shape) * BITS[dtype] != (end - start) * 8:
        raise _corrupted(path, f'tensor "{name}" of {dtype} {list(shape)} does not fit its {end - start:,} bytes')
    return TensorInfo(dtype, shape), end


def _read_json(path: Path) -> tuple[dict[str, Any], int]:
    """The header as parsed JSON, and the number of bytes after it."""
    if os.path.isdir(path):
        raise InputError(f"{path}: a folder; give the .safetensors file itself")
    require_file(path, "there is no such weights file")
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = path.stat().st_size
            _refuse_other_formats(path, start, size)
            length = struct.unpack("<Q", start)[0]
            if length > MAX_HEADER or 8 + length > size:
                raise _corrupted(path, "the length of its header is impossible")
            raw = file.read(length)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        header = json.loads(raw)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise _corrupted(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _corrupted(path, "its header is not a JSON object")
    return header, size - 8 - length


def _refuse_other_formats(path: Path, start: bytes, size: int) -> None:
    if start[:4] == b"PK\x03\x04":
        raise InputError(
            f"{path}: a zip archive, as torch.save writes them (.pth, .pt). It is never opened, because such "
            f"files can run code; {conversion(path)}"
        )
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        if len(start) == 8 and 8 + int(struct.unpack("<Q", start)[0]) <= size:
            return  # a header length may begin with the bytes of a pickle; then the rest of the 8 bytes is small
        raise InputError(
            f"{path}: a Python pickle. It is never opened, because pickles can run code; {conversion(path)}"
        )
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{path}: an HDF5 file; only .safetensors files are read")
    if start.startswith(b"version "):
        raise InputError(f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull`")
    if size < 8:
        raise InputError(f"{path}: empty or truncated: {size} bytes; copy or download it again")


def _corrupted(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: not a readable safetensors file: {reason}; it is damaged, truncated or of another format"
    )
