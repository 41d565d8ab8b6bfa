"""Checkpoints that are whole or absent: temp folder, fsync, manifest with SHA-256 last, then rename."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transferkit.atomic import fsync, sha256, write_text
from transferkit.errors import InputError, TransferkitError

FORMAT = 1
MANIFEST = "manifest.json"


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{MANIFEST} is missing or unreadable"
    if manifest.get("format") != FORMAT:
        return f"format {manifest.get('format')} is not {FORMAT}"
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}"
        if sha256(path) != entry["sha256"]:
            return f"{name} does not match its checksum"
    return None


def step_of(folder: Path) -> int:
    """How many steps were done when a checkpoint was written, from its name."""
    return int(folder.name.removeprefix("step-"))


@dataclass
class Checkpoints:
    """The checkpoints of one stage: `step-000120/` folders, and the text files `last` and `best` that name one."""

    folder: Path
    keep: int = 2
    warn: Callable[[str], None] = print

    def save(self, step: int, write: Callable[[Path], None], *, best: bool) -> Path:
        """Publish what `write(folder)` puts into a temporary folder; then remove what is no longer needed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".tmp-*"):  # of an attempt that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        final = self.folder / f"step-{step:06d}"
        temporary = self.folder / f".tmp-{final.name}-{os.getpid()}"
        temporary.mkdir()
        try:
            write(temporary)
            files = sorted(path for path in temporary.rglob("*") if path.is_file())
            entries = {}
            for path in files:
                fsync(path)
                name = path.relative_to(temporary).as_posix()
                entries[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
            manifest = {"format": FORMAT, "step": step, "files": entries}
            (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            fsync(temporary / MANIFEST)
            fsync(temporary)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(temporary, final)
            fsync(self.folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise TransferkitError(f"checkpoint {final.name} could not be written: {error}") from error
        write_text(self.folder / "last", final.name + "\n")
        if best:
            write_text(self.folder / "best", final.name + "\n")
        self._rotate()
        return final

    def _rotate(self) -> None:
        steps = self._folders()
        for folder in steps[self.keep :]:
            if folder.name != self._named("best"):
                shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        found = (path for path in self.folder.glob("step-*") if path.name.removeprefix("step-").isdigit())
        return sorted(found, key=step_of, reverse=True)

    def _named(self, pointer: str) -> str | None:
        path = self.folder / pointer
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    def best(self) -> Path | None:
        """The best checkpoint, verified."""
        name = self._named("best")
        if name is None:
            return None
        problem = verify(self.folder / name)
        if problem:
            raise TransferkitError(f"the best checkpoint {self.folder / name} is damaged: {problem}")
        return self.folder / name

    def newest(self, at_most: int | None = None) -> Path | None:
        """The newest valid checkpoint, of at most so many steps; a broken one is named, with what is used instead."""
        broken: list[tuple[str, str]] = []
        for folder in self._folders():
            if at_most is not None and step_of(folder) > at_most:
                continue
            problem = verify(folder)
            if problem is None:
                for name, reason in broken:
                    self.warn(f"checkpoint {name} is damaged ({reason}); using {folder.name} instead")
                return folder
            broken.append((folder.name, problem))
        if broken:
            listed = "; ".join(f"{name}: {reason}" for name, reason in broken)
            raise InputError(f"no valid checkpoint in {self.folder} ({listed}); start the run anew")
        return None
