"""What an audit looks at: the models and images that were given, and what the target's own run says of the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.analysis.audit_origin import Origin, run_of
from transferkit.analysis.given_models import given_model, is_bare_file, is_weights_file
from transferkit.analysis.workbench import Given
from transferkit.errors import InputError
from transferkit.recipe import schema
from transferkit.recipe.paths import absolute
from transferkit.recipe.tree import shown
from transferkit.suggest import did_you_mean
from transferkit.training.datasets import StageImages
from transferkit.training.progress import Display

SOURCE_DATA, TARGET_DATA = "source images", "target images"
"""Names of data sets that were given to the audit; no recipe can have them."""
OPTIONS = {"source": "--source MODEL", "target_data": "--target-data DIR", "source_data": "--source-data DIR"}


@dataclass(frozen=True)
class Wanted:
    """The audit's arguments about models and images, as they were given; None for what was not."""

    target: str
    source: str | None = None
    baseline: str | None = None
    target_data: str | None = None
    source_data: str | None = None
    source_labels: str | None = None
    on_bad_image: str = "error"
    seed: int = 0


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


def collect(wanted: Wanted, display: Display) -> Inputs:
    """Find everything; what is missing and wrong about the arguments themselves is said at once.

    Where the target belongs to a run, what was not given comes from its recipe. Raises InputError.
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
        whole = StageImages(None, inputs.datasets, wanted.seed, skip_bad=True)
        inputs.images = lambda data, name: whole
    return inputs


# --- what was given -----------------------------------------------------------------------------------------


def _refuse_gaps(wanted: Wanted, origin: Origin | None) -> None:
    missing = [name for name in OPTIONS if getattr(wanted, name) is None]
    if origin is None:
        if missing:
            listed = ", ".join(OPTIONS[name] for name in missing)
            raise InputError(
                f"{wanted.target} is not (a stage of) a run of transferkit, which would say where it comes from; "
                f"also give {listed}"
            )
        return
    if wanted.source is None and origin.source is None:
        raise InputError(
            f'the stage "{origin.stage.name}" of {shown(origin.folder.path)} was trained from scratch, so there is no '
            "source model it could remember; give another stage, or --source MODEL"
        )
    if wanted.source_data is None and origin.source_data is None:
        raise InputError(
            f"the recipe of {shown(origin.folder.path)} names no source images; give them with --source-data DIR: one "
            "folder for each class of the source model, any part of its classes will do"
        )


def _models(wanted: Wanted, origin: Origin | None, display: Display) -> tuple[dict[str, Given], dict[str, str]]:
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
    if given is None:
        assert of_run is not None
        inputs.data[role] = of_run
        inputs.given["data"][role] = _from_recipe(of_run)
        return
    inputs.given["data"][role] = given
    if given in inputs.datasets and not Path(given).expanduser().exists():
        inputs.data[role] = given
        return
    inputs.datasets[name] = read_data(given, inputs.datasets)
    inputs.data[role] = name


def read_data(text: str, known: Iterable[str] = ()) -> schema.Dataset:
    """A folder of class folders, with or without splits; or an .npz or .tar file. Raises InputError."""
    path = Path(absolute(text, Path.cwd()))
    if not path.exists():
        hint = did_you_mean(text, known)
        raise InputError(f"there are no images at {text}: it does not exist" + (f"; {hint}" if hint else ""))
    kind = "folder" if path.is_dir() else path.suffix.lower().removeprefix(".")
    if kind not in ("folder", "npz", "tar"):
        raise InputError(f"{text} is neither a folder of class folders nor an .npz or .tar file")
    content: dict[str, Any] = {kind: str(path)}
    return schema.Dataset.model_validate(content)


def _relabelled(inputs: Inputs, old: str, labels: str) -> str:
    """The data set with another class list, under a name of its own: another role that uses it stays as it is."""
    if old == SOURCE_DATA:
        inputs.datasets[old] = inputs.datasets[old].model_copy(update={"labels": labels})
    else:
        inputs.datasets[SOURCE_DATA] = schema.Dataset.model_validate({"from": old, "labels": labels})
    return SOURCE_DATA
