"""What the run that trained a model says of it: where it started, what it saw, what to compare it with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from transferkit.analysis.of_run import RunModels
from transferkit.analysis.workbench import Given
from transferkit.errors import InputError
from transferkit.folder import RunFolder
from transferkit.model_place import ModelPlace, model_place
from transferkit.recipe import Loaded, schema, yaml
from transferkit.recipe.tree import shown
from transferkit.registry import installed
from transferkit.training.progress import Display


@dataclass
class Origin:
    """The run that trained the target, as far as an audit needs it."""

    models: RunModels
    stage: schema.Stage
    folder: RunFolder = field(repr=False)

    @property
    def recipe(self) -> schema.Recipe:
        """The run's resolved recipe."""
        return self.models.loaded.recipe

    @cached_property
    def _uses(self) -> list[schema.AnalyzerUse]:
        last = self.recipe.stages[-1].name
        return [use for use in self.recipe.analyses if (use.stage or last) == self.stage.name]

    @property
    def source(self) -> Given | None:
        """The model that the stage started from; None from scratch."""
        named = _first(use.source for use in self._uses)
        return self.models.stage(named) if named is not None else self.models.start(self.stage)

    @property
    def source_stage(self) -> str | None:
        """The stage whose model that is, if it is one."""
        return _first(use.source for use in self._uses) or self.stage.start

    @property
    def source_data(self) -> str | None:
        """The data set that the recipe's analyses look at, else what the stage it started from was trained on."""
        stages = {stage.name: stage for stage in self.recipe.stages}
        before = stages.get(self.stage.start)
        return _first(use.dataset for use in self._uses) or (before.dataset if before is not None else None)

    @property
    def baseline(self) -> str | None:
        """The stage that the recipe's analyses compare with, else one trained from scratch on the same data."""
        named = _first(use.baseline for use in self._uses)
        alike = (
            stage.name
            for stage in self.recipe.stages
            if stage.start == "scratch" and stage.dataset == self.stage.dataset and stage.name != self.stage.name
        )
        found = named or _first(alike)
        return found if found is not None and self.folder.model(found).is_dir() else None


def run_of(target: str, display: Display) -> Origin | None:
    """The run that the target's model folder lies in, or None. Raises InputError for a recipe that cannot be read."""
    place = _place(target)
    if place is None or place.run is None or place.stage is None:
        return None
    path = place.run / "recipe.yaml"
    try:
        recipe = schema.Recipe.model_validate(yaml.read(path).plain())
    except ValidationError as error:
        raise InputError(
            f"{shown(path)} is not a recipe of this version ({error.error_count()} problems); "
            "give --source, --source-data and --target-data and a copy of the model folder outside its run"
        ) from error
    stages = {stage.name: stage for stage in recipe.stages}
    if place.stage not in stages:
        return None
    folder = RunFolder(place.run)
    loaded = Loaded(recipe, path, {}, installed())
    return Origin(RunModels(loaded, folder, recipe.seed, display), stages[place.stage], folder)


def _place(target: str) -> ModelPlace | None:
    path = Path(target.removeprefix("local-dir:")).expanduser()
    return model_place(target) if path.is_dir() else None


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)
