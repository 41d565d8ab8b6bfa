"""Which model folder a user means: a model folder itself, `local-dir:…`, or a stage of a run folder. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from transferkit.errors import InputError, Problem
from transferkit.runs.folder import newest_in
from transferkit.runs.record import RESULT, fitting
from transferkit.system.atomic import read_json
from transferkit.words.doors import option
from transferkit.words.suggest import did_you_mean


@dataclass(frozen=True)
class ModelPlace:
    """A model folder; where it is a stage's, also the run and the stage it belongs to."""

    folder: Path
    run: Path | None = None
    stage: str | None = None


def find_model(given: str, stage: str | None = None) -> Path:
    """The model folder: itself, or that of a run's stage (default: the last one that has a model).

    Raises InputError when there is none.
    """
    return model_place(given, stage).folder


def model_place(given: str, stage: str | None = None) -> ModelPlace:
    """The model folder that a user means, with the run and stage it belongs to; of a run that of a stage, or the last.

    Raises InputError when there is no model.
    """
    path = Path(os.path.expanduser(given.removeprefix("local-dir:")))
    if os.path.isfile(path / "config.json"):
        if stage is not None:
            raise InputError(f"{path} is one model, so there is no stage to choose; leave out {option('stage')}")
        return _with_run(path)
    if os.path.isfile(path / "model" / "config.json"):
        return _with_run(path / "model")
    if os.path.isfile(path / "result.json"):
        return _with_run(_of_run(path, stage))
    if not os.path.lexists(path):  # these never raise, whatever the name is
        raise InputError(f"{path} does not exist; give a model folder or a run folder")
    raise InputError(f"{path} is neither a model folder (config.json) nor a run folder (result.json){newest_in(path)}")


def _with_run(folder: Path) -> ModelPlace:
    """runs/…/stages/NAME/model belongs to the stage NAME of the run that holds its recipe."""
    parts = folder.absolute().parts
    if len(parts) > 3 and parts[-1] == "model" and parts[-3] == "stages":
        run = Path(*parts[:-3])
        if os.path.isfile(run / "recipe.yaml"):
            return ModelPlace(folder, run, parts[-2])
    return ModelPlace(folder)


def _of_run(path: Path, stage: str | None) -> Path:
    result = fitting(read_json(path / "result.json"), RESULT, "result.json", [])
    if (path / "audit.json").is_file():
        raise InputError(
            f"{path} is the folder of an audit, which has no model of its own; give the model it looked at"
        )
    stages = result.get("stages") or {}
    folders = {name: path / str((entry or {}).get("model") or "") for name, entry in stages.items()}
    finished = [name for name, folder in folders.items() if folder != path]
    if stage is not None and stage not in finished:
        state = "has not finished, so it has no model" if stage in folders else "does not exist"
        raise InputError(Problem("", f'the stage "{stage}" of {path} {state}', did_you_mean(stage, finished)))
    if not finished:
        raise InputError(f"no stage of {path} has a finished model")
    chosen = stage or finished[-1]
    if not os.path.isfile(folders[chosen] / "config.json"):
        raise InputError(
            f'the model of the stage "{chosen}" is not in {folders[chosen]} any more: it has no config.json; '
            f"bring it back, or choose another stage with {option('stage')}"
        )
    return folders[chosen]
