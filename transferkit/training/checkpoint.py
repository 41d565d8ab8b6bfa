"""Checkpoints that are whole or absent: temp folder, fsync, manifest with SHA-256 last, then rename.

A checkpoint says itself which step it is of and which checkpoint was the best one then. The text files `last` and
`best` beside them are for people and scripts: nothing here reads them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.errors import InputError, StorageError, TransferkitError
from transferkit.system.atomic import fsync, read_json, sha256, storing, write_text
from transferkit.system.records import check_seal, seal

FORMAT = 2
MANIFEST = "manifest.json"
PREFIX, TEMPORARY, OLD = "step-", ".tmp-", ".old-"
Job = tuple[int, Callable[[Path], None], bool]  # the step, what writes it, and whether it is the best


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        files = read_manifest(folder)["files"]
    except InputError as error:
        return str(error)
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}"
        if sha256(path) != entry["sha256"]:
            return f"{name} does not match its checksum"
    return None


def read_manifest(folder: Path) -> dict[str, Any]:
    """`step`, `best` (a step, or None) and `files` of a checkpoint. Raises InputError when it is damaged."""
    try:
        manifest: dict[str, Any] = read_json(folder / MANIFEST)
    except InputError:
        raise InputError(f"{MANIFEST} is missing or unreadable") from None
    if isinstance(manifest.get("format"), int) and manifest["format"] != FORMAT:
        raise InputError(f"it has format {manifest['format']}, this version of transferkit reads {FORMAT}")
    if not check_seal(manifest, folder / MANIFEST, "") or step_of(folder) != manifest["step"]:
        raise InputError(f"{MANIFEST} is not one that was written here")
    return manifest


def step_of(folder: Path) -> int | None:
    """The step in a checkpoint's name; None for a folder that is no checkpoint."""
    digits = folder.name.removeprefix(PREFIX)
    return int(digits) if folder.name.startswith(PREFIX) and digits.isascii() and digits.isdigit() else None


@dataclass
class Checkpoints:
    """The checkpoints of one stage: `step-000120/` folders, written in the background, one at a time.

    A disk that does not take one costs that one: it is said, those before it stay, and the next is tried as usual.
    """

    folder: Path
    keep: int = 2
    warn: Callable[[str], None] = print
    _best: int | None = field(default=None, init=False)
    _broken: set[str] = field(default_factory=set, init=False, repr=False)
    """Damaged ones that are newer than what was gone on from: they are not counted as the newest."""
    _waiting: list[Job] = field(default_factory=list, init=False, repr=False)
    _writing: Future[None] | None = field(default=None, init=False, repr=False)

    def open(self) -> Checkpoints:
        """For the stage that writes here: remove what a crash left half-written, put back what it half-replaced."""
        with storing(str(self.folder)):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._tidy()
        return self

    def _tidy(self) -> None:
        for replaced in self.folder.glob(f"{OLD}*"):
            original = self.folder / replaced.name.removeprefix(OLD)
            if not original.exists():
                replaced.rename(original)
        for leftover in (*self.folder.glob(f"{TEMPORARY}*"), *self.folder.glob(f"{OLD}*")):
            shutil.rmtree(leftover, ignore_errors=True)

    def begin(self, step: int, write: Callable[[Path], None], *, best: bool) -> None:
        """Publish what `write(folder)` puts into a temporary folder, in the background: it must not change meanwhile.

        Failures are warnings here. A best one that the disk did not take is tried again first: none is published that
        names a best one which is not there.
        """
        self.close()
        left = [] if best else [job for job in self._waiting if job[2]]
        self._waiting = [*left, (step, write, best)]
        pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing = pool.submit(self._drain)
        pool.shutdown(wait=False)

    def save(self, step: int, write: Callable[[Path], None], *, best: bool) -> None:
        """Publish at once: it is on the disk on return. Raises StorageError."""
        self.begin(step, write, best=best)
        self.settle()

    def settle(self) -> None:
        """Wait until everything is on the disk, and try once more what is not. Raises StorageError."""
        self.close()
        self._drain()

    def close(self) -> None:
        """Wait for what is being written; a failure is a warning."""
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                writing.result()
            except StorageError as error:
                self.warn(f"{error}; the checkpoints before it are kept, and it is tried again later")

    def _drain(self) -> None:
        while self._waiting:
            self._publish(*self._waiting[0])
            self._waiting.pop(0)

    def _publish(self, step: int, write: Callable[[Path], None], is_best: bool) -> None:
        best = step if is_best else self._best
        final = self._at(step)
        temporary = self.folder / f"{TEMPORARY}{final.name}-{os.getpid()}"
        try:
            with storing(f"the checkpoint {final}"):
                self.folder.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
                write(temporary)
                entries = {}
                for path in sorted(path for path in temporary.rglob("*") if path.is_file()):
                    fsync(path)
                    name = path.relative_to(temporary).as_posix()
                    entries[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
                manifest = seal({"format": FORMAT, "step": step, "best": best, "files": entries})
                (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
                fsync(temporary / MANIFEST)
                fsync(temporary)
                if final.exists():  # at the end of an epoch whose last step was saved already
                    os.replace(final, self.folder / f"{OLD}{final.name}")
                os.replace(temporary, final)
                fsync(self.folder)
        finally:
            self._tidy()
        self._best = best
        self._broken.discard(final.name)
        self._rotate()
        with suppress(StorageError):
            write_text(self.folder / "last", final.name + "\n")
            if best is not None:
                write_text(self.folder / "best", self._at(best).name + "\n")

    def _rotate(self) -> None:
        """Keep the newest ones, and what each of them calls the best."""
        steps = [folder for folder in self.folders() if folder.name not in self._broken]
        wanted = {folder.name for folder in steps[: self.keep]}
        for folder in steps[: self.keep]:
            with suppress(InputError):
                best = read_manifest(folder)["best"]
                wanted |= {self._at(best).name} if best is not None else set()
        for folder in steps:
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)

    def folders(self) -> list[Path]:
        """Newest first, by number."""
        found = [(step, folder) for folder in self.folder.glob(f"{PREFIX}*") if (step := step_of(folder)) is not None]
        return [folder for _, folder in sorted(found, reverse=True)]

    def _at(self, step: int) -> Path:
        return self.folder / f"{PREFIX}{step:06d}"

    def best(self) -> Path | None:
        """The best checkpoint, verified; None where there is none. Raises TransferkitError when it is damaged."""
        self.close()
        if self._best is None:
            return None
        folder = self._at(self._best)
        problem = verify(folder)
        if problem:
            raise TransferkitError(f"the best checkpoint {folder} is damaged: {problem}")
        return folder

    def newest(self, at_most: int | None = None) -> Path | None:
        """The newest valid checkpoint, of at most so many steps; a broken one is named, with what is used instead.

        Raises InputError where all are broken.
        """
        self.close()
        broken: list[tuple[str, str]] = []
        for folder in self.folders():
            if at_most is not None and (step_of(folder) or 0) > at_most:
                continue
            problem = verify(folder)
            if problem is None:
                for name, reason in broken:
                    self.warn(f"checkpoint {name} is damaged ({reason}); using {folder.name} instead")
                self._best = read_manifest(folder)["best"]
                self._broken = {name for name, _ in broken}
                return folder
            broken.append((folder.name, problem))
        if broken:
            listed = "; ".join(f"{name}: {reason}" for name, reason in broken)
            raise InputError(f"no valid checkpoint in {self.folder} ({listed}); start the run anew")
        return None
