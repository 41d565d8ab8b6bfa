"""The labelled images that an export with fewer bits is calibrated with and measured on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit.errors import InputError
from transferkit.runs.model_place import model_place

if TYPE_CHECKING:
    from PIL import Image

    from transferkit.data.contents import Source
    from transferkit.deploy.lossy import Pictures

CALIBRATION = 128
VALIDATION = 1000
Chosen = tuple["Source", Any]
"""A source, and which of its images."""


def pictures(model: Path, folder: Path | None) -> Pictures:
    """Training images to calibrate with, validation images to measure on: the model's run's, or those of a folder.

    Of a folder without splits every second image is for either. At most 128 and 1000, evenly spread. Raises InputError
    where there are none.
    """
    from transferkit.deploy.lossy import Pictures

    train, val = _of_run(model) if folder is None else _of_folder(model, folder)
    train, val = _spread(train, CALIBRATION), _spread(val, VALIDATION)

    def calibration() -> Iterator[Image.Image]:
        source, indices = train
        return (source.image(int(index)) for index in indices)

    def validation() -> Iterator[tuple[Image.Image, int]]:
        source, indices = val
        return ((source.image(int(index)), int(source.labels[index])) for index in indices)

    return Pictures(calibration, validation)


def _spread(chosen: Chosen, most: int) -> Chosen:
    source, indices = chosen
    if len(indices) <= most:
        return chosen
    return source, indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]


def _of_run(model: Path) -> tuple[Chosen, Chosen]:
    """As the stage itself saw them."""
    place = model_place(str(model))
    if place.run is None or place.stage is None:
        raise InputError(
            f"{model} lies in no run, whose images could be taken; give images, one folder per class, with "
            "--calibration FOLDER"
        )
    from transferkit.data.parts import StageImages
    from transferkit.model.folder_config import read_config
    from transferkit.recipe import load_recipe
    from transferkit.recipe.folding import fold_of

    recipe, classes = load_recipe(place.run / "recipe.yaml").recipe, read_config(model).own.classes
    stage = recipe.stage(place.stage)
    seen = StageImages(stage, recipe.datasets, recipe.seed, fold=fold_of(recipe, stage))
    found = []
    for split in ("train", "val"):
        part = seen.part(stage.dataset, split, classes)
        if part is None:
            raise InputError(
                f"{place.run} had no validation images for the stage {place.stage}; give some with --calibration FOLDER"
            )
        found.append((part.source, part.readable))
    return found[0], found[1]


def _of_folder(model: Path, folder: Path) -> tuple[Chosen, Chosen]:
    from transferkit.cli.evaluate import open_data
    from transferkit.data.folders import find_splits
    from transferkit.model.folder_config import read_config

    classes = list(read_config(model).own.classes or ())
    splits = find_splits(folder)
    if "train" in splits and "val" in splits:
        train, val = (open_data(folder, split, classes) for split in ("train", "val"))
        return (train, np.arange(len(train))), (val, np.arange(len(val)))
    source = open_data(folder, "val" if "val" in splits else "train", classes)
    indices = np.arange(len(source))
    return (source, indices[::2]), (source, indices[1::2])
