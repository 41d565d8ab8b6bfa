"""What can be tried after a run: commands that work as they stand, on photographs that are there."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.errors import TransferkitError
from transferkit.system.atomic import make_folder

if TYPE_CHECKING:
    from transferkit.recipe import Loaded
    from transferkit.recipe.schema import World

SERVES = ("fastapi", "onnxruntime", "prometheus_client", "uvicorn")
OF_EACH = 2  # photographs of a drawn data set


def next_steps(run_dir: Path, stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Commands that go on from a finished run."""
    this, model = here("transferkit"), model_of(run_dir, stages)
    try:
        loaded = _recipe(run_dir)
        photographs = [] if loaded is None or model is None else photographs_of(loaded, run_dir, list(stages)[-1])
    except (TransferkitError, OSError):  # data that have moved since: there is less to offer
        loaded, photographs = None, []
    if model is not None and photographs:
        shown = _typed(photographs[0] if len(photographs) == 1 else photographs[0].parent)
        guarded = (model / "interference.json").is_file()
        yield f"{this} {'detect' if guarded else 'predict'} {_typed(model)} {shown}"
        yield f"{this} explain {_typed(model)} {_typed(photographs[0])}"
    if model is not None and all(find_spec(name) for name in SERVES):
        yield f"{this} serve {_typed(model)}"
    if model is not None and loaded is not None and loaded.recipe.analyses:
        yield f"{this} audit {_typed(run_dir)}"
    if len(list(run_dir.parent.glob("*/result.json"))) > 1:
        yield f"{this} compare {_typed(run_dir.parent)}"
    boards = [board for name in ("repeats", "tb") if (board := run_dir / name).is_dir()]
    if boards:
        yield f"{here('tensorboard')} --logdir {_typed(boards[0])}"


def model_of(run_dir: Path, stages: Mapping[str, Mapping[str, Any]]) -> Path | None:
    """The folder of the last stage's model."""
    found = [run_dir / entry["model"] for entry in stages.values() if (run_dir / str(entry.get("model"))).is_dir()]
    return found[-1] if found else None


def here(command: str) -> str:
    """A command as it can be typed: by its path where it is beside this Python but not on the PATH."""
    beside = Path(sys.executable).parent / command
    if shutil.which(command) or not beside.is_file():
        return command
    return _typed(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def photographs_of(loaded: Loaded, run_dir: Path, stage: str) -> list[Path]:
    """An image of the stage's data; where those are drawn, some that were not trained on, drawn into the run's folder.

    Of a drawn source they show what the target's classes lack: what a detector is for.
    """
    from transferkit.recipe.counting import surveyed
    from transferkit.recipe.lineage import resolved

    dataset = resolved(loaded.recipe.stage(stage).dataset, loaded.recipe.datasets)
    if dataset is None:
        return []
    if dataset.world is not None:
        worlds = [one.world for one in (dataset, *loaded.recipe.datasets.values()) if one.world is not None]
        return list(dict.fromkeys(path for world in worlds for path in _drawn(world, run_dir / "photographs")))
    if dataset.source not in ("folder", "table", "lists") or (found := surveyed(dataset)) is None:
        return []
    files = found.files()
    return [Path(path) for split in ("val", "test", "train") for path in files.get(split, ())][:1]


def _drawn(world: World, folder: Path) -> Iterator[Path]:
    from PIL import Image

    from transferkit.data.world import CLASSES, SOURCE_ONLY, draw

    names = SOURCE_ONLY if world.kind == "source" else CLASSES[world.kind]
    make_folder(folder)
    for name in names[:OF_EACH]:
        path = folder / f"{name}.png"
        Image.fromarray(draw(world.kind, "new", name, 0, world.size)).save(path)
        yield path


def _recipe(run_dir: Path) -> Loaded | None:
    from transferkit.recipe import load_recipe

    return load_recipe(run_dir / "recipe.yaml") if (run_dir / "recipe.yaml").is_file() else None


def _typed(path: Path) -> str:
    return shlex.quote(str(path))
