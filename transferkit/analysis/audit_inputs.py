"""What an audit looks at: the models and images that were given, and what the target's own run says of the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transferkit.analysis.audit_request import Arguments, run_place
from transferkit.analysis.given_models import given_model, is_bare_file, is_weights_file
from transferkit.analysis.run_analyses import RunModels
from transferkit.analysis.workbench import Given
from transferkit.data.parts import StageImages
from transferkit.errors import InputError
from transferkit.plugins.files import PluginFile, allowed, with_files
from transferkit.plugins.registry import installed
from transferkit.recipe import Loaded, schema
from transferkit.recipe.given_data import read_data
from transferkit.recipe.paths import absolute
from transferkit.recipe.tree import shown
from transferkit.runs.folder import RunFolder
from transferkit.runs.origin import analyses_of, baseline_of, recipe_of, source_data, trained_stage
from transferkit.training.progress import Display
from transferkit.words.doors import option

SOURCE_DATA, TARGET_DATA = "source images", "target images"
"""Names of data sets that were given to the audit; no recipe can have them."""
NEEDED = {"source": "MODEL", "target_data": "DIR", "source_data": "DIR"}


@dataclass
class Inputs:
    """Models and images by role, each with how it was given."""

    models: dict[str, Given]
    datasets: dict[str, schema.Dataset]
    data: dict[str, str]
    """{role: name of its data set}: source, target."""
    given: dict[str, dict[str, str]]
    """{"models": {role: text}, "data": {role: text}} for people."""
    images: Callable[[str, str], StageImages] | None = None
    """(role or name, data set) -> as which stage saw it; None: as they are."""


def collect(wanted: Arguments, seed: int, display: Display) -> Inputs:
    """Find everything; what is missing and wrong about the arguments themselves is said at once.

    Paths are relative to the working directory. Where the target belongs to a run, what was not given comes from its
    recipe. Raises InputError.
    """
    if wanted.on_bad_image not in ("error", "skip"):
        raise InputError(f'on_bad_image is "error" or "skip", not "{wanted.on_bad_image}"')
    origin = run_of(wanted.target, display)
    _refuse_gaps(wanted, origin)
    models, texts = _models(wanted, origin, display)
    inputs = Inputs(models, {}, {}, {"models": texts, "data": {}})
    if origin is not None:
        inputs.datasets = dict(origin.recipe.datasets)
    _add_data(inputs, "source", wanted.source_data, origin.source_data if origin else None, SOURCE_DATA)
    _add_data(inputs, "target", wanted.target_data, origin.stage.dataset if origin else None, TARGET_DATA)
    if wanted.source_labels is not None:
        inputs.data["source"] = _relabelled(inputs, inputs.data["source"], absolute(wanted.source_labels, Path.cwd()))
    skip = wanted.on_bad_image == "skip"
    if origin is not None:
        inputs.images = origin.models.images(origin.stage, origin.source_stage, inputs.datasets, skip_bad=skip)
    elif skip:
        whole = StageImages(None, inputs.datasets, seed, skip_bad=True)
        inputs.images = lambda data, name: whole
    return inputs


# --- what was given -----------------------------------------------------------------------------------------


def _refuse_gaps(wanted: Arguments, origin: Origin | None) -> None:
    if origin is None:
        missing = [option(name, value) for name, value in NEEDED.items() if getattr(wanted, name) is None]
        if missing:
            raise InputError(
                f"{wanted.target} is not (a stage of) a run of transferkit, which would say where it comes from; "
                f"also give {', '.join(missing)}"
            )
        return
    run = shown(origin.models.folder.path)
    if wanted.source is None and origin.source is None:
        raise InputError(
            f'the stage "{origin.stage.name}" of {run} was trained from scratch, so there is no source model it could '
            f"remember; give another stage, or {option('source', 'MODEL')}"
        )
    if wanted.source_data is None and origin.source_data is None:
        raise InputError(
            f"the recipe of {run} names no source images; give them with {option('source-data', 'DIR')}: one folder "
            "for each class of the source model, any part of its classes will do"
        )


def _models(wanted: Arguments, origin: Origin | None, display: Display) -> tuple[dict[str, Given], dict[str, str]]:
    """Every model, with how it was given. A weights file takes what it does not hold from another model."""
    say = display.line
    source = None
    if wanted.source is not None and is_weights_file(wanted.target) and not is_bare_file(wanted.source):
        source = given_model(wanted.source, where="source model", say=say)
    target = given_model(wanted.target, like=source, where="target model", say=say)
    if source is None and wanted.source is not None:
        source = given_model(wanted.source, like=target, where="source model", say=say)
    elif source is None and origin is not None:
        source = origin.source
    assert source is not None
    models, texts = {"source": source, "target": target}, {"target": wanted.target}
    texts["source"] = wanted.source if wanted.source is not None else _from_recipe(source.label)
    if wanted.baseline is not None:
        models["baseline"] = given_model(wanted.baseline, like=target, where="baseline model", say=say)
        texts["baseline"] = wanted.baseline
    elif origin is not None and origin.baseline is not None:
        models["baseline"] = origin.models.stage(origin.baseline)
        texts["baseline"] = _from_recipe(models["baseline"].label)
    return models, texts


def _from_recipe(text: str) -> str:
    return f"{text} (from the run's recipe)"


def _add_data(inputs: Inputs, role: str, given: str | None, of_run: str | None, name: str) -> None:
    known = given if given is not None else of_run
    assert known is not None
    inputs.given["data"][role] = known if given is not None else _from_recipe(known)
    if given is not None and (given not in inputs.datasets or Path(given).expanduser().exists()):
        inputs.datasets[name] = read_data(given, inputs.datasets)
        known = name
    inputs.data[role] = known


def _relabelled(inputs: Inputs, old: str, labels: str) -> str:
    """The data set with another class list, under a name of its own: another role that uses it stays as it is."""
    if old == SOURCE_DATA:
        inputs.datasets[old] = inputs.datasets[old].model_copy(update={"labels": labels})
    else:
        inputs.datasets[SOURCE_DATA] = schema.Dataset.model_validate({"from": old, "labels": labels})
    return SOURCE_DATA


# --- what the target's run says ------------------------------------------------------------------------------


class Origin:
    """The run that trained the target, as far as an audit needs it.

    source        the model that the stage started from; None from scratch
    source_stage  the stage whose model that is, if it is one
    source_data   the data set that the recipe's analyses look at, else what that stage was trained on
    baseline      the stage that the analyses compare with, else one trained from scratch on the same data
    """

    def __init__(self, models: RunModels, stage: schema.Stage) -> None:
        self.models, self.stage, self.recipe = models, stage, models.loaded.recipe
        trained = trained_stage(self.recipe, stage)
        named = (use.source for use in analyses_of(self.recipe, stage))
        source = next((one for one in named if one is not None), None)
        self.source = models.stage(source) if source is not None else models.start(stage)
        self.source_stage = source or trained.start
        self.source_data = source_data(self.recipe, stage)
        baseline = baseline_of(self.recipe, stage)
        self.baseline = baseline if baseline is not None and models.folder.model(baseline).is_dir() else None


def run_of(target: str, display: Display) -> Origin | None:
    """The run that the target's model folder lies in, or None. Raises InputError for a recipe that cannot be read."""
    place = run_place(target)
    recipe = None if place is None else recipe_of(place)
    if place is None or place.run is None or recipe is None:
        return None
    files = [PluginFile.read(Path(file)) for file in recipe.plugins] if allowed() else []
    registry = with_files(installed(), files) if files else installed()
    loaded = Loaded(recipe, place.run / "recipe.yaml", {}, registry)
    models = RunModels(loaded, RunFolder(place.run), recipe.seed, display)
    return next((Origin(models, stage) for stage in recipe.stages if stage.name == place.stage), None)
