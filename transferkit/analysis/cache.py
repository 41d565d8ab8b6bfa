"""Results that are a function of content: kept in memory and on disk under a hash of all that they depend on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from transferkit.folder import cache_folder

LIMIT = 8 * 2**30  # bytes on disk; the results used longest ago go first
FORMAT = 2
DIGEST = "digest"

Tensors = dict[str, Tensor]


class Cache:
    """Tensors by the facts they follow from. `folder=None` keeps them in memory only.

    Never keyed on file names or times. A file that is damaged, or cannot be read or written, costs a new computation.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._memory: dict[str, Tensors] = {}

    @classmethod
    def of_user(cls) -> Cache:
        """The cache that all runs of this user share."""
        return cls(cache_folder() / "results")

    def get(self, facts: Mapping[str, Any], compute: Callable[[], Tensors], *, keep: bool = True) -> Tensors:
        """The tensors that follow from the facts, computed if they are not known. `keep=False`: not to disk.

        The versions of torch and timm are part of the facts without being named.
        """
        name = _name(facts)
        found = self._memory.get(name)
        if found is None and keep:
            found = self._read(name)
        if found is None:
            found = {key: tensor.detach().cpu().contiguous() for key, tensor in compute().items()}
            if keep:
                self._write(name, found, facts)
        self._memory[name] = found
        return found

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{name}.safetensors"

    def _read(self, name: str) -> Tensors | None:
        path = self._path(name)
        if path is None or not path.is_file():
            return None
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                written = (file.metadata() or {}).get(DIGEST)
                found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no mapping
            if _digest(found) != written:
                return None
        except Exception:  # whatever a damaged header makes of itself
            return None
        with suppress(OSError):
            os.utime(path)  # used now: see _prune
        return found

    def _write(self, name: str, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        path = self._path(name)
        if path is None or not tensors:
            return
        partial = path.with_name(f".{name}.{os.getpid()}.part")
        metadata = {"facts": json.dumps(facts, default=str), DIGEST: _digest(tensors)}
        with suppress(OSError, safetensors.SafetensorError):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, str(partial), metadata=metadata)
            partial.replace(path)
            self._prune(path)
        with suppress(OSError):
            partial.unlink(missing_ok=True)

    def _prune(self, newest: Path) -> None:
        files = [(path, path.stat()) for path in newest.parent.glob("*.safetensors")]
        total = sum(status.st_size for _, status in files)
        for path, status in sorted(files, key=lambda pair: pair[1].st_mtime):
            if total <= self.limit:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                total -= status.st_size
        for path in newest.parent.glob(".*.part"):  # of processes that were killed
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink(missing_ok=True)


def _digest(tensors: Tensors) -> str:
    """Of names, dtypes, shapes and bytes: a flipped bit would otherwise be another result."""
    found = blake2b(digest_size=20)
    for name, tensor in sorted(tensors.items()):
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _name(facts: Mapping[str, Any]) -> str:
    content = {"format": FORMAT, "torch": torch.__version__, "timm": timm.__version__, **facts}
    return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=20).hexdigest()
