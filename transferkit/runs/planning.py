"""From a stage of a recipe to what it takes to prepare it: plugins, places, and how many images go through at once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from transferkit.errors import InputError
from transferkit.recipe import Loaded, schema
from transferkit.runs.folder import RunFolder
from transferkit.runs.model_place import find_model
from transferkit.runs.origin import source_of
from transferkit.system.atomic import read_json
from transferkit.system.signals import StopSignal
from transferkit.training.checkpoint import Checkpoints
from transferkit.training.progress import Display
from transferkit.training.saving import FINGERPRINT
from transferkit.training.stage_plan import StagePlan

PassSize = tuple[int, int]
"""batch_size and accumulate."""


def plan_stage(
    loaded: Loaded,
    name: str,
    run: RunFolder,
    into: RunFolder,
    *,
    display: Display,
    stop: StopSignal,
    batch: PassSize | None = None,
) -> StagePlan:
    """What it takes to prepare a stage of `run` that writes into another run folder, or the same.

    `batch` is how its images go through where `auto_batch` has found another way than the recipe's; without it, as its
    checkpoints were trained.
    """
    stage = loaded.recipe.stage(name)
    if stage.auto_batch:
        size, accumulate = batch or _found(stage, run.stage(name))
        stage = stage.model_copy(update={"batch_size": size, "accumulate": accumulate})
    return StagePlan(
        recipe=loaded.recipe,
        stage=stage,
        plugins=loaded.plugins(stage),
        corruptions={name: loaded.corruptions(name) for name in loaded.recipe.datasets},
        seed=loaded.recipe.seed,
        out=into.stage(name),
        start=_start(loaded, stage, run),
        find_model=find_model,
        find_source=partial(source_of, loaded.recipe, stage, run.model),
        display=display,
        stop=stop,
    )


def _found(stage: schema.Stage, folder: Path) -> PassSize:
    """What the newest checkpoint was trained with, if it makes the same steps as the recipe; else what that says."""
    own = stage.batch_size, stage.accumulate
    newest = next(iter(Checkpoints(folder / "checkpoints").folders()), None)
    if newest is None or not (newest / f"{FINGERPRINT}.json").is_file():
        return own
    recipe = read_json(newest / f"{FINGERPRINT}.json").get("recipe", {})
    found = recipe.get("batch_size"), recipe.get("accumulate")
    same = all(isinstance(one, int) for one in found) and found[0] * found[1] == own[0] * own[1]
    return found if same else own


def _start(loaded: Loaded, stage: schema.Stage, run: RunFolder) -> Path | None:
    """The model folder a stage starts from: another stage's, or a path."""
    if stage.start in ("pretrained", "scratch"):
        return None
    if any(other.name == stage.start for other in loaded.recipe.stages):
        folder = run.model(stage.start)
        if not folder.is_dir():
            raise InputError(f'stage "{stage.name}" starts from "{stage.start}", which has not been run yet')
        return folder
    return Path(stage.start)
