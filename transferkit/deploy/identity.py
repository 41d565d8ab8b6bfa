"""By which name answers say which model gave them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from transferkit.system.atomic import sha256

IDENTITY = ("config.json", "model.safetensors", "interference.json")


def model_id(folder: Path) -> str:
    """Sixteen hexadecimal digits that change with the weights, the classes, the preprocessing and the detector."""
    digest = hashlib.sha256()
    for name in IDENTITY:
        if (folder / name).is_file():
            digest.update(f"{name}:{sha256(folder / name)}\n".encode())
    return digest.hexdigest()[:16]
