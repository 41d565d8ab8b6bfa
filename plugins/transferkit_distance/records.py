"""What the observer `distance` left in a run's metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError
from transferkit.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession

LENGTHS = ("distance", "displacement", "straightness", "fisher_length", "fisher_length_definition_2")


@dataclass(frozen=True)
class Record:
    """One epoch of a stage. Lengths that were not recorded are NaN."""

    epoch: int
    """Counted from 1."""
    step: int
    values: Mapping[str, float]

    def __getitem__(self, length: str) -> float:
        return self.values[length]


@dataclass(frozen=True)
class Path:
    """One stage's way, an epoch at a time."""

    stage: str
    records: list[Record]

    @property
    def end(self) -> Record:
        """The last epoch."""
        return self.records[-1]

    @property
    def has_fisher(self) -> bool:
        """Whether predictions were looked at."""
        return math.isfinite(self.end["fisher_length"])


def read_path(session: AnalysisSession, stage: str) -> Path:
    """A stage's way. Raises InputError, in words for a report, where there is no record of it."""
    recipe = session.recipe
    if recipe is None:
        raise InputError("an audit knows models, not how they were trained; distances are recorded in a run")
    names = [known.name for known in recipe.stages]
    if stage not in names:
        raise InputError(f'the recipe has no stage "{stage}"; {did_you_mean(stage, names) or "see its stages"}')
    watching = [use.instance_name for use in recipe.stage(stage).observers if use.use == "distance"]
    if not watching:
        raise InputError(f'the stage "{stage}" has no observer distance; add {{use: distance}} to its observers')
    found = [
        _record(record, record["plugins"][watching[0]])
        for record in session.history(stage)
        if watching[0] in record.get("plugins", {})
    ]
    if not found:
        raise InputError(f'the stage "{stage}" has not finished an epoch, so nothing is recorded yet')
    return Path(stage, found)


def _record(record: Mapping[str, Any], values: Mapping[str, Any]) -> Record:
    known = {name: math.nan if values.get(name) is None else float(values[name]) for name in LENGTHS}
    return Record(int(record["epoch"]) + 1, int(record["step"]), known)
