"""What a sweep file says: a recipe, what differs from cell to cell, and the seeds. Imports no torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from transferkit.recipe import yaml
from transferkit.recipe.base import Count, Flag, Name, Number, Positive, Section
from transferkit.recipe.sections import validate
from transferkit.recipe.tree import Problems, shown

Changes = dict[str, Any]
"""{dotted key of the recipe: value}; `+list` appends and `~key` removes, as on the command line."""


class Space(Section):
    """What one key is drawn from: one of several values, or a number between two ends, which are included."""

    choices: list[Any] = Field([], description="values of any kind")
    low: Number | None = None
    high: Number | None = None
    log: Flag = Field(False, description="drawn evenly in the logarithm")
    whole: Flag = Field(False, description="whole numbers only")

    @model_validator(mode="after")
    def _fits(self) -> Space:
        if self.choices:
            if self.low is not None or self.high is not None or self.log or self.whole:
                raise ValueError("give choices, or low and high")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give choices, or low and high")
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("log needs a low above 0")
        if self.whole and math.ceil(self.low) > math.floor(self.high):
            raise ValueError("there is no whole number between low and high")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Low and high, of whole numbers the first and the last."""
        assert self.low is not None and self.high is not None
        return (math.ceil(self.low), math.floor(self.high)) if self.whole else (self.low, self.high)


class Search(Section):
    """Settings that are drawn, instead of listed in a grid."""

    space: dict[str, Space] = Field(min_length=1)
    trials: Positive
    method: Literal["random", "tpe"] = Field("random", description="tpe: Optuna's, which learns from finished trials")
    seed: Count = 0
    metric: str = Field("top1", description="top1, loss or analyses.NAME.METRIC: mean over the seeds")
    stage: str | None = Field(None, description="default: the last one")
    direction: Literal["more", "less"] = Field("more", description="which is better")
    prune: Flag = Field(False, description="end trials that are worse than half of the others were by then")

    @model_validator(mode="after")
    def _prunable(self) -> Search:
        if self.prune and self.metric not in ("top1", "loss"):
            raise ValueError("prune: only top1 and loss are known while a trial trains")
        return self


class Sweep(Section):
    """A whole sweep."""

    sweep_version: Literal[1] = 1
    name: Name
    description: str = ""
    recipe: str = Field(description="a recipe file, relative to this one")
    set_: Changes = Field({}, alias="set", description="changes for every cell")
    seeds: Positive | list[Count] = Field(1, description="how many, or which")
    variants: dict[Name, Changes] = Field({}, description="{name: its changes of the recipe}")
    baseline: str | None = Field(None, description="what others are compared with; default: the first variant")
    grid: dict[str, list[Any]] = Field({}, description="{dotted key: values}: all combinations")
    search: Search | None = None

    @model_validator(mode="after")
    def _fits(self) -> Sweep:
        if self.baseline is not None and self.baseline not in self.variants:
            raise ValueError(f'baseline: there is no variant called "{self.baseline}"')
        if not all(self.grid.values()):
            raise ValueError("grid: a list without values leaves no cell")
        if self.search is not None and (self.grid or self.variants):
            raise ValueError("search stands alone: without variants and grid")
        if isinstance(self.seeds, list) and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            raise ValueError("seeds: a list needs at least one seed, and each once")
        return self

    @property
    def every_seed(self) -> list[int]:
        """The seeds of every variant."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds


def read_sweep(path: Path) -> Sweep:
    """A sweep file. Raises InputError with every problem, each with file:line:column."""
    root = yaml.read(path)
    problems = Problems(root, shown(path))
    found = validate(Sweep, root, (), problems)
    problems.raise_if_any()
    assert found is not None
    return found


def recipe_of(sweep: Sweep, path: Path) -> Path:
    """Where the recipe of a sweep file lies."""
    return (path.absolute().parent / Path(sweep.recipe).expanduser()).resolve()
