"""The folder of a run: where everything is, what its result says, and how a new one is named."""

from __future__ import annotations

import platform
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transferkit.errors import InputError, StorageError
from transferkit.report import json_text
from transferkit.surface import installed_versions
from transferkit.system.atomic import encoded, read_json, write_bytes, write_text
from transferkit.words.doors import option
from transferkit.words.text import encodable

PACKAGES = ("transferkit", "torch", "torchvision", "timm", "accelerate", "numpy", "pydantic", "pluggy")


@dataclass(frozen=True)
class RunFolder:
    """`runs/<recipe>/<UTC stamp>-<4 hex>/`."""

    path: Path

    @classmethod
    def create(
        cls, out: Path, recipe: str, files: Mapping[str, str | bytes] = {}, name: str | None = None
    ) -> RunFolder:
        """A new folder that appears with these files in it ({name: content}), or not at all. Raises InputError.

        It is called after the time, unless it has a `name`.
        """
        if encodable(str(out)) != str(out):  # neither TensorBoard nor safetensors open such paths
            raise InputError(f"{option('out', str(out))}: a run folder needs a name that is text (UTF-8)")
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        path = out / recipe / (name or f"{stamp}-{secrets.token_hex(2)}")
        beginning = path.with_name(f".{path.name}")
        try:
            beginning.mkdir(parents=True, exist_ok=False)
            for name, content in files.items():
                (beginning / name).parent.mkdir(exist_ok=True)
                write_bytes(beginning / name, content if isinstance(content, bytes) else encoded(content))
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
            raise InputError(f"{path} is not a run folder: it has no recipe.yaml{newest_in(path)}")
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


def newest_in(folder: Path) -> str:
    """What is added to a refusal of a folder that holds runs, or folders of runs: the newest, by its name's stamp."""
    found = [place.parent for way in ("*", "*/*") for place in folder.glob(f"{way}/recipe.yaml")]
    return f"; the newest run in it is {max(found, key=lambda run: run.name)}" if found else ""


def result_text(result: Mapping[str, Any]) -> str:
    """The content of a result.json."""
    return json_text(result, indent=2) + "\n"


def environment_text(**more: Any) -> str:
    """The content of an env.json: what the run ran on."""
    content = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": installed_versions(PACKAGES),
        # another program's, which calls the Python API, are none of our business
        "arguments": sys.argv[1:] if Path(sys.argv[0]).name in ("transferkit", "__main__.py") else None,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
    return json_text(content, indent=2) + "\n"


def remove_empty(folder: RunFolder, out: Path) -> None:
    """Take back a run folder in which nothing was done: wrong input leaves nothing behind, not even an empty `out`."""
    stages = folder.path / "stages"
    if not any(stages.glob("*/checkpoints/step-*")) and not any(stages.glob("*/model")):
        shutil.rmtree(folder.path, ignore_errors=True)
        for parent in (folder.path.parent, out):
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
