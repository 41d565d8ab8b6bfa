"""What a stage's model was trained from, through stages that only edit and model folders of other runs. No torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from transferkit.errors import InputError
from transferkit.recipe import schema, yaml
from transferkit.recipe.tree import shown
from transferkit.recipe.uses import AnalyzerUse
from transferkit.runs.folder import RunFolder
from transferkit.runs.model_place import ModelPlace, model_place
from transferkit.words.doors import option
from transferkit.words.formats import listing
from transferkit.words.names import plain_name

Origin = Path | schema.Model
"""A model folder, or the model section that says which pretrained weights."""


def source_of(recipe: schema.Recipe, stage: schema.Stage, model_of: Callable[[str], Path]) -> Origin | None:
    """What the training that made a stage's model started from; `model_of(stage)` is the folder of a stage's model.

    A stage without training asks the one that it starts from, and a model folder the run that it lies in. None for a
    start from scratch, and for a folder of which no run says it. Raises InputError for a recipe that cannot be read.
    """
    if stage.start == "scratch":
        return None
    if stage.start == "pretrained":
        return stage.model or recipe.model
    before = next((one for one in recipe.stages if one.name == stage.start), None)
    if stage.trains:
        return model_of(stage.start) if before is not None else Path(stage.start)
    if before is not None:
        return source_of(recipe, before, model_of)
    place = model_place(stage.start)
    known = recipe_of(place)
    if known is None or place.run is None:
        return None
    inner, run = next((one for one in known.stages if one.name == place.stage), None), RunFolder(place.run)
    return None if inner is None else source_of(known, inner, run.model)


def recipe_of(place: ModelPlace) -> schema.Recipe | None:
    """The resolved recipe of the run that a model lies in, or None. Raises InputError where it cannot be read."""
    if place.run is None or place.stage is None:
        return None
    path = place.run / "recipe.yaml"
    try:
        return schema.Recipe.model_validate(yaml.read(path).plain())
    except ValidationError as error:
        given = listing([option(name) for name in ("source", "source-data", "target-data")])
        raise InputError(
            f"{shown(path)} is not a recipe of this version ({error.error_count()} problems); give {given} and a copy "
            "of the model folder outside its run"
        ) from error


def trained_stage(recipe: schema.Recipe, stage: schema.Stage) -> schema.Stage:
    """The stage whose training made the model, as far as the recipe has it: the stage itself where that trains."""
    stages = {one.name: one for one in recipe.stages}
    while not stage.trains and stage.start in stages:
        stage = stages[stage.start]
    return stage


def analyses_of(recipe: schema.Recipe, stage: schema.Stage) -> list[AnalyzerUse]:
    """The recipe's analyses of a stage's model, or of the training that made it."""
    wanted = {stage.name, trained_stage(recipe, stage).name}
    return [use for use in recipe.analyses if (use.stage or recipe.stages[-1].name) in wanted]


def analysis_options(recipe: schema.Recipe, stage: schema.Stage) -> dict[str, dict[str, Any]]:
    """{analyzer: its options} of these analyses; of several by one analyzer those of the first."""
    found: dict[str, dict[str, Any]] = {}
    for use in analyses_of(recipe, stage):
        found.setdefault(plain_name(use.use), use.options)
    return found


def source_data(recipe: schema.Recipe, stage: schema.Stage) -> str | None:
    """The data set that the recipe's analyses of a stage look at, else what the stage it was trained from learned."""
    trained = trained_stage(recipe, stage)
    named = next((use.dataset for use in analyses_of(recipe, stage) if use.dataset is not None), None)
    before = next((one for one in recipe.stages if one.name == trained.start), None)
    return named or (before.dataset if before is not None else None)


def baseline_of(recipe: schema.Recipe, stage: schema.Stage) -> str | None:
    """The stage that analyses compare a stage with, else one that was trained from scratch on the same data."""
    named = next((use.baseline for use in analyses_of(recipe, stage) if use.baseline is not None), None)
    alike = (one.name for one in recipe.stages if one.start == "scratch" and one.dataset == stage.dataset)
    return named or next((name for name in alike if name != stage.name), None)
