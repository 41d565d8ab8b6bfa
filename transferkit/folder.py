"""The folder of a run: where everything is, what its result says, and how a new one is named."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transferkit.atomic import read_json, write_text
from transferkit.errors import InputError, StorageError
from transferkit.report import json_text
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
    def create(cls, out: Path, recipe: str, files: Mapping[str, str] = {}) -> RunFolder:
        """A new folder that appears with these files in it ({name: text}), or not at all. Raises InputError."""
        if encodable(str(out)) != str(out):  # neither TensorBoard nor safetensors open such paths
            raise InputError(f"--out {out}: a run folder needs a name that is text (UTF-8)")
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        path = out / recipe / f"{stamp}-{secrets.token_hex(2)}"
        beginning = path.with_name(f".{path.name}")
        try:
            beginning.mkdir(parents=True, exist_ok=False)
            for name, text in files.items():
                write_text(beginning / name, text)
            beginning.rename(path)
        except (OSError, StorageError) as error:
            shutil.rmtree(beginning, ignore_errors=True)
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise InputError(f"the run folder {path} cannot be created: {reason}") from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run. Raises InputError when the folder is none."""
        if not (path / "recipe.yaml").is_file():
            raise InputError(f"{path} is not a run folder: it has no recipe.yaml")
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
        """What result.json says; nothing where a crash came before it. Raises InputError when it is damaged."""
        found: dict[str, Any] = read_json(self.path / "result.json") if (self.path / "result.json").is_file() else {}
        return found

    def write_result(self, result: dict[str, Any]) -> None:
        """Replace result.json in one move. Raises StorageError."""
        write_text(self.path / "result.json", result_text(result))

    def write_recipe(self, text: str) -> None:
        """Replace recipe.yaml in one move, if it says something else. Raises StorageError."""
        path = self.path / "recipe.yaml"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def end(self, status: str, error: str | None = None) -> None:
        """Say how a run ended that did not come to say it itself, if its result.json is there and says `running`."""
        result: dict[str, Any] = read_json(self.path / "result.json")
        if result.get("status") == "running":
            self.write_result(result | {"status": status} | ({} if error is None else {"error": error}))

    def write_environment(self, **more: Any) -> None:
        """What the run ran on. Raises StorageError."""
        write_text(self.path / "env.json", environment_text(**more))


def result_text(result: Mapping[str, Any]) -> str:
    """The content of a result.json."""
    return json_text(result, indent=2) + "\n"


def environment_text(**more: Any) -> str:
    """The content of an env.json: what the run ran on."""
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
        "arguments": _arguments(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
    return json_text(content, indent=2) + "\n"


def _arguments() -> list[str] | None:
    """Those of our own command line; another program's, which calls the Python API, are none of our business."""
    return sys.argv[1:] if Path(sys.argv[0]).name in ("transferkit", "__main__.py") else None
