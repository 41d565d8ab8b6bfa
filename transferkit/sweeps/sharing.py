"""Stages that several cells have in common: trained by the first of them, and taken over by the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from transferkit.runs.beginning import take_stage
from transferkit.runs.folder import RunFolder
from transferkit.sweeps.cells import Cell
from transferkit.system.run_lock import owned


@dataclass
class SharedStages:
    """Which runs have finished which stage, and who is training one that others wait for."""

    finished: dict[str, RunFolder] = field(default_factory=dict)
    """{stage key: a run that has it}."""
    _training: dict[str, Path] = field(default_factory=dict)

    def waits(self, cell: Cell, run: RunFolder) -> bool:
        """Whether another cell is training the first stage that this one lacks."""
        lacking = (key for stage, key in cell.stage_keys.items() if key not in self.finished and not _has(run, stage))
        first = next(lacking, None)
        return first is not None and self._training.get(first, run.path) != run.path

    def begin(self, cell: Cell, run: RunFolder) -> list[str]:
        """Give the run what others have trained already, and note what it will train. The names of what it got."""
        taken = []
        with owned(run.path):
            for stage, key in cell.stage_keys.items():
                donor = self.finished.get(key)
                if _has(run, stage):
                    self.finished.setdefault(key, run)
                elif donor is not None and donor.path != run.path:
                    take_stage(run, stage, donor)
                    taken.append(stage)
                else:
                    self._training.setdefault(key, run.path)
        return taken

    def look(self, cells: Iterable[tuple[Cell, RunFolder]]) -> None:
        """Note what these runs have finished by now."""
        for cell, run in cells:
            for stage, key in cell.stage_keys.items():
                if key not in self.finished and _has(run, stage):
                    self.finished[key] = run
                    self._training.pop(key, None)

    def ended(self, run: RunFolder) -> None:
        """A cell does not run any more: nobody waits for it."""
        self._training = {key: path for key, path in self._training.items() if path != run.path}


def _has(run: RunFolder, stage: str) -> bool:
    return run.model(stage).is_dir() and stage in (run.result.get("stages") or {})
