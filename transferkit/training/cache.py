"""Results that are a function of content: kept in memory and on disk under a hash of all that they depend on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
from torch import Tensor

from transferkit.model.digest import tensors_digest
from transferkit.model.weights import save_tensors
from transferkit.system.atomic import aside, cache_folder, remove_leftovers
from transferkit.words.kinds import reason

LIMIT = 8 * 2**30  # bytes on disk; the results used longest ago go first
FORMAT = 3
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

    def get(
        self,
        facts: Mapping[str, Any],
        compute: Callable[[], Tensors],
        *,
        keep: bool = True,
        warn: Callable[[str], object] = lambda text: None,
    ) -> Tensors:
        """The tensors that follow from the facts, on the CPU; computed if they are not known.

        The versions of torch and timm are part of the facts without being named. `keep=False`: not to disk. `warn`
        is told of a file that cannot be used.
        """
        content = {"format": FORMAT, "torch": torch.__version__, "timm": timm.__version__, **facts}
        name = blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=20).hexdigest()
        path = self.folder / f"{name}.safetensors" if self.folder is not None and keep else None
        found = self._memory.get(name)
        if found is None and path is not None:
            found = self._read(path, warn)
        if found is None:
            found = {key: tensor.detach().cpu().contiguous() for key, tensor in compute().items()}
            if found and path is not None:
                self._write(path, found, facts)
        self._memory[name] = found
        return found

    def _read(self, path: Path, warn: Callable[[str], object]) -> Tensors | None:
        if not path.is_file():
            return None
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                written = (file.metadata() or {}).get(DIGEST)
                found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no mapping
            if _digest(found) != written:
                raise ValueError("its content differs from what was written")
        except Exception as error:  # whatever a damaged header makes of itself
            warn(f"{path} cannot be read ({reason(error)}); what it held is computed again")
            return None
        with suppress(OSError):
            os.utime(path)  # used now: see _prune
        return found

    def _write(self, path: Path, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        partial = aside(path)
        metadata = {"facts": json.dumps(facts, default=str), DIGEST: _digest(tensors)}
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_tensors(tensors, partial, metadata)
            partial.replace(path)
            self._prune(path)
        with suppress(OSError):
            partial.unlink(missing_ok=True)

    def _prune(self, newest: Path) -> None:
        files = [(path, path.stat()) for path in newest.parent.glob("[!.]*.safetensors")]
        total = sum(status.st_size for _, status in files)
        for path, status in sorted(files, key=lambda pair: pair[1].st_mtime):
            if total <= self.limit:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= status.st_size
        remove_leftovers(newest.parent)


def _digest(tensors: Tensors) -> str:
    """Of names, dtypes, shapes and bytes: a flipped bit would otherwise be another result."""
    return tensors_digest(sorted(tensors.items()), blake2b(digest_size=20))
