"""Sessions in training, from a recipe written for the purpose: one stage on noise kept in memory."""

from __future__ import annotations

import numpy as np
import yaml

from transferkit.recipe import load_recipe
from transferkit.runs.folder import RunFolder
from transferkit.system.signals import StopSignal
from transferkit.training.progress import Display
from transferkit.training.stage_plan import StagePlan


def noise(path, images, size, classes):
    """A data set of a recipe, whose images are written to the path."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), dtype=np.uint8)
    names = [f"class {index}" for index in range(classes)]
    np.savez(path, x_train=pixels, y_train=np.arange(images) % classes, classes=names)
    return {"npz": str(path)}


def plan(folder, architecture, size, datasets, start=None, **stage):
    """One stage on the first data set; the recipe and what it writes go into the folder. `start`: a model folder."""
    stage = {
        "name": "target", "start": str(start or "scratch"), "dataset": next(iter(datasets)), "validation": 0,
        "workers": 0,
    } | stage  # fmt: skip
    model = {"name": architecture, "preprocessing": {"input_size": size, "crop_pct": 1.0}}
    recipe = {"name": "benchmark", "model": model, "datasets": datasets, "device": "cpu", "stages": [stage]}
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    loaded = load_recipe(folder / "recipe.yaml")
    (only,) = loaded.recipe.stages
    return StagePlan(
        recipe=loaded.recipe, stage=only, plugins=loaded.plugins(only),
        corruptions={name: loaded.corruptions(name) for name in datasets}, seed=0,
        out=RunFolder(folder).stage(only.name), start=start, display=Display(quiet=True), stop=StopSignal(),
    )  # fmt: skip
