"""The cells of a sweep: one ordinary run each, known by a hash of its resolved recipe and of its data.

What is the same in two sweeps, or was done yesterday, has the same key and is not run again. Stages that several cells
have in common, up to everything that they start from, have one key as well: they are trained once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

from transferkit.data.folders import SPLIT_NAMES
from transferkit.data.sources import open_split
from transferkit.errors import InputError
from transferkit.recipe import Loaded, load_recipe
from transferkit.recipe.paths import STARTS
from transferkit.recipe.schema import Dataset, Recipe, Stage
from transferkit.runs.comparison import short_names
from transferkit.surface import __version__
from transferkit.sweeps.spec import Changes, Sweep
from transferkit.system.atomic import sha256

WEIGHTS = "model.safetensors"
FREE = {"name", "description", "threads"}  # what changes nothing in what a run comes to, or only its last digits
FREE_OF_STAGES = {"workers", "checkpoints"}


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    label: str
    settings: Changes
    """What the variant, the grid or the search set, without what all cells share."""
    loaded: Loaded = field(repr=False)
    known: Known = field(repr=False)

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.loaded.recipe.seed

    @property
    def name(self) -> str:
        """Its folder: readable, and no other cell's."""
        words = re.sub(r"[^A-Za-z0-9.=_-]+", "_", self.label).strip("._") or "cell"
        return f"{words[:60]}-seed{self.seed}-{self.key[:10]}"

    @cached_property
    def key(self) -> str:
        """A hash of the resolved recipe, of the data and weights that it names, and of transferkit's version."""
        content = {name: value for name, value in self.loaded.data().items() if name not in FREE}
        return _digest(_placeless(content), self._world)

    @cached_property
    def stage_keys(self) -> dict[str, str]:
        """{stage: a hash of all that decides what it comes to}, in recipe order."""
        recipe, found = self.loaded.recipe, dict[str, str]()
        common = recipe.model_dump(mode="json", include={"seed", "deterministic", "device"})
        for stage in recipe.stages:
            content = stage.model_dump(mode="json", by_alias=True, exclude=FREE_OF_STAGES)
            content["start"] = found.get(stage.start, stage.start)
            content["model"] = (stage.model or recipe.model).model_dump(mode="json")
            content["watched"] = [
                one.model_dump(mode="json")
                for one in recipe.analyses
                if one.every is not None and (one.stage or recipe.stages[-1].name) == stage.name
            ]
            found[stage.name] = _digest(_placeless(content | common), self._world)
        return found

    @cached_property
    def _world(self) -> dict[str, Any]:
        recipe = self.loaded.recipe
        return {
            "version": __version__,
            "data": {name: self.known.data(name, recipe.datasets) for name in recipe.datasets},
            "weights": [self.known.file(path) for path in _files(recipe)],
            "plugins": [blake2b(file.content).hexdigest() for file in self.loaded.files],
        }


class Known:
    """What is known of data and weights: each is looked at once for all cells."""

    def __init__(self) -> None:
        self._data: dict[str, dict[str, str]] = {}
        self._files: dict[Path, str] = {}

    def data(self, name: str, datasets: Mapping[str, Dataset]) -> dict[str, str]:
        """{split: hash of its class list, names, labels and sizes}."""
        key = json.dumps([name, {one: spec.model_dump(mode="json") for one, spec in datasets.items()}], default=str)
        if key not in self._data:
            opened = {split: open_split(name, datasets, split) for split in SPLIT_NAMES}
            self._data[key] = {split: one.fingerprint() for split, one in opened.items() if one is not None}
        return self._data[key]

    def file(self, path: Path) -> str:
        """A hash of the bytes of a file, or of the weights in a model folder."""
        if path not in self._files:
            file = path / WEIGHTS if path.is_dir() else path
            self._files[path] = sha256(file) if file.is_file() else ""
        return self._files[path]


def _files(recipe: Recipe) -> list[Path]:
    """The files and model folders that stages start from."""
    return [Path(start) for stage in recipe.stages for start in _starts(stage, recipe) if Path(start).exists()]


def _starts(stage: Stage, recipe: Recipe) -> Iterator[str]:
    if stage.start not in (*STARTS, *(one.name for one in recipe.stages)):
        yield stage.start
    weights = (stage.model or recipe.model).weights
    if weights:
        yield str(weights)


def _placeless(value: Any) -> Any:
    """Plain data without where files lie: what is in them is hashed instead."""
    if isinstance(value, Mapping):
        return {key: _placeless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_placeless(item) for item in value]
    return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value


def _digest(*content: Any) -> str:
    return blake2b(json.dumps(content, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def cells_of(sweep: Sweep, recipe: Path, known: Known, *, allow_plugins: bool = False) -> list[Cell]:
    """The cells of variants, grid and seeds; variants one after another, seeds last. Raises InputError."""
    found = []
    for label, settings in combinations(sweep):
        found += cells_with(sweep, recipe, label, settings, known, allow_plugins=allow_plugins)
    twice = next((cell for index, cell in enumerate(found) if cell.key in {one.key for one in found[:index]}), None)
    if twice is not None:
        others = [cell.label for cell in found if cell.key == twice.key and cell is not twice]
        raise InputError(f'"{others[0]}" and "{twice.label}" are the same run: leave out one of them')
    return found


def cells_with(
    sweep: Sweep, recipe: Path, label: str, settings: Changes, known: Known, *, allow_plugins: bool = False
) -> list[Cell]:
    """The cells of all seeds with these settings. Raises InputError that names the cell."""
    try:
        loaded = load_recipe(recipe, overrides(sweep.set_ | settings), allow_plugins=allow_plugins)
    except InputError as error:
        error.add_note(f"    in the cell {label}" + (f" ({', '.join(overrides(settings))})" if settings else ""))
        raise
    return [
        Cell(
            label,
            settings,
            replace(loaded, recipe=loaded.recipe.model_copy(update={"seed": seed, "repeat": 1})),
            known,
        )
        for seed in sweep.every_seed
    ]


def combinations(sweep: Sweep) -> Iterator[tuple[str, Changes]]:
    """(label, settings) of every variant and every point of the grid."""
    names = short_names(list(sweep.grid))
    for variant, changes in (sweep.variants or {"": {}}).items():
        for values in product(*sweep.grid.values()):
            point = dict(zip(sweep.grid, values, strict=True))
            parts = [f"{names[key]}={text(value)}" for key, value in point.items()]
            yield ", ".join([variant, *parts] if variant else parts) or sweep.name, changes | point


def overrides(changes: Mapping[str, Any]) -> list[str]:
    """The changes as arguments of `run`."""
    return [key if key.startswith("~") else f"{key}={text(value)}" for key, value in changes.items()]


def text(value: Any) -> str:
    """A value as it stands after `key=`."""
    return value if isinstance(value, str) else json.dumps(value)


def by_label(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """{label: its cells, one per seed}, in order."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.label, []).append(cell)
    return found
