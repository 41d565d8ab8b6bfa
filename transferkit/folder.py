"""The folder of a run: where everything is, what its result says, and how a new one is named."""

from __future__ import annotations

import json
import os
import platform
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transferkit.errors import InputError
from transferkit.report import write_json
from transferkit.text import encodable

PACKAGES = ("transferkit", "torch", "torchvision", "timm", "accelerate", "numpy", "pydantic", "pluggy")


def cache_folder() -> Path:
    """Where results that any run may use again are kept: TRANSFERKIT_CACHE, or the user's cache folder."""
    given = os.environ.get("TRANSFERKIT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(given).expanduser() if given else Path(base).expanduser() / "transferkit"


@dataclass(frozen=True)
class RunFolder:
    """`runs/<recipe>/<UTC stamp>-<4 hex>/`."""

    path: Path

    @classmethod
    def create(cls, out: Path, recipe: str) -> RunFolder:
        """A new folder; never an existing one. Raises InputError where it cannot be, or has a name that is no text."""
        if encodable(str(out)) != str(out):  # neither TensorBoard nor safetensors open such paths
            raise InputError(f"--out {out}: a run folder needs a name that is text (UTF-8)")
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        path = out / recipe / f"{stamp}-{secrets.token_hex(2)}"
        try:
            path.mkdir(parents=True, exist_ok=False)
        except OSError as error:
            raise InputError(f"the run folder {path} cannot be created: {error.strerror}") from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run. Raises InputError when the folder is none."""
        if not (path / "result.json").is_file() or not (path / "recipe.yaml").is_file():
            raise InputError(f"{path} is not a run folder: it has no result.json and recipe.yaml")
        return cls(path)

    def stage(self, name: str) -> Path:
        """A stage's folder."""
        return self.path / "stages" / name

    def model(self, name: str) -> Path:
        """A stage's deployable model."""
        return self.stage(name) / "model"

    def analysis(self, name: str) -> Path:
        """An analysis' folder."""
        return self.path / "analyses" / name

    @property
    def result(self) -> dict[str, Any]:
        """What result.json says."""
        content: dict[str, Any] = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        return content

    def write_result(self, result: dict[str, Any]) -> None:
        """Replace result.json in one move."""
        write_json(self.path / "result.json", result)

    def write_environment(self, **more: Any) -> None:
        """What the run ran on."""
        versions: dict[str, str | None] = {}
        for package in PACKAGES:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                versions[package] = None
        content = {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": versions,
            "arguments": sys.argv[1:],
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **more,
        }
        write_json(self.path / "env.json", content)
