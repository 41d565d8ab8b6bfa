"""The folder of a sweep, and how its cells stand: what their own run folders say, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transferkit.errors import InputError
from transferkit.report import json_text
from transferkit.runs.folder import RunFolder
from transferkit.system.atomic import make_folder, read_json, write_text
from transferkit.system.run_lock import owned, owner_of
from transferkit.words.text import one_line

CELLS, LOGS, PLAN, BEGUN = "cells", "logs", "sweep.json", "trials.json"
Status = Literal["waiting", "running", "stopped", "failed", "pruned", "done"]


@dataclass(frozen=True)
class Entry:
    """A cell, as the sweep's plan has it."""

    name: str
    label: str
    seed: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """How a cell stands, and why."""

    status: Status
    why: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class SweepFolder:
    """`OUT/NAME/`: `cells/` with a run folder each, `logs/` with what they said, and the plan."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """Raises InputError for a folder that is no sweep's."""
        if not (path / PLAN).is_file():
            raise InputError(f"{path} is not the folder of a sweep: it has no {PLAN}")
        return cls(path)

    def run(self, name: str) -> RunFolder:
        """The run folder of a cell, whether it is there or not."""
        return RunFolder(self.path / CELLS / name)

    def log(self, name: str) -> Path:
        """What the command of a cell said."""
        return self.path / LOGS / f"{name}.log"

    def write_plan(self, facts: Mapping[str, Any], entries: list[Entry]) -> None:
        """Say which cells there are, in one move. Raises StorageError."""
        make_folder(self.path / LOGS)
        text = json_text(dict(facts) | {"cells": [vars(one) for one in entries]}, indent=2)
        write_text(self.path / PLAN, text + "\n")

    @property
    def plan(self) -> dict[str, Any]:
        """What was planned. Raises InputError where it is damaged."""
        found: dict[str, Any] = read_json(self.path / PLAN)
        return found

    @property
    def entries(self) -> list[Entry]:
        """The cells of the plan. Raises InputError where it is damaged."""
        try:
            return [Entry(one["name"], one["label"], one["seed"], one["settings"]) for one in self.plan["cells"]]
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.path / PLAN} is damaged: {error!r}; start the sweep once more") from None

    def standing(self, name: str) -> Standing:
        """How a cell stands, by its own result.json and lock."""
        run = self.run(name)
        if not (run.path / "result.json").is_file():
            return Standing("waiting")
        result = run.result
        if result.get("pruned"):
            return Standing("pruned", str(result["pruned"]))
        if result.get("status") == "done":
            stages = (result.get("stages") or {}).values()
            return Standing("done", seconds=sum(float(stage.get("seconds") or 0) for stage in stages))
        if owner_of(run.path) is not None:
            return Standing("running")
        if result.get("status") == "failed":
            return Standing("failed", one_line(str(result.get("error") or "it does not say why")))
        begun = any((run.path / "stages").glob("*"))
        return Standing("stopped" if begun else "waiting")

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Be the only one that starts cells. Raises InputError while another process does."""
        make_folder(self.path)
        with owned(self.path):
            yield
