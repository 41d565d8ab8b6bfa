"""What an analyzer may know of the run it belongs to: the recipe, other stages' models, and how training went."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError
from transferkit.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.analysis.workbench import Given
    from transferkit.folder import RunFolder
    from transferkit.recipe.schema import Recipe

HISTORY = ("metrics.jsonl", "early_steps.jsonl")


@dataclass(frozen=True)
class RunView:
    """A run as one of its analyses sees it; `stage` is the one that the analysis is about."""

    recipe: Recipe
    stage: str
    folder: RunFolder
    open_stage: Callable[[str], Given]

    def given(self, stage: str) -> Given:
        """The finished model of a stage. Raises InputError for a stage the recipe lacks or that has not finished."""
        self._refuse_unknown(stage)
        return self.open_stage(stage)

    def history(self, stage: str | None = None) -> list[dict[str, Any]]:
        """The records of a stage in metrics.jsonl and early_steps.jsonl, by step. Raises InputError."""
        name = stage or self.stage
        self._refuse_unknown(name)
        found = []
        for file in HISTORY:
            path = self.folder.path / file
            if path.is_file():
                found += [record for record in _records(path) if record["stage"] == name]
        return sorted(found, key=lambda record: int(record["step"]))

    def _refuse_unknown(self, stage: str) -> None:
        names = [known.name for known in self.recipe.stages]
        if stage not in names:
            raise InputError(f'the recipe has no stage called "{stage}"; {did_you_mean(stage, names)}')


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of lines. A last line may be cut short; any other that is none is an InputError."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for place, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            whole = isinstance(record["stage"], str) and isinstance(record["step"], int)
        except (ValueError, KeyError, TypeError, RecursionError):
            whole = False
        if whole:
            yield record
        elif place < len(lines):
            raise InputError(f"{path.name} is damaged: line {place} is no record of a stage and a step")
