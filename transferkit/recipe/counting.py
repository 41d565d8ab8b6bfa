"""How many images a stage has, counted without opening one: for checks before anything starts, and for plans."""

from __future__ import annotations

import functools
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from transferkit.data import folders
from transferkit.errors import InputError
from transferkit.recipe.schema import Dataset, World

Counts = dict[str, dict[str, int]]


def class_counts(name: str, datasets: Mapping[str, Dataset | None]) -> Counts | None:
    """{split: {class: images}} of a data set, or None when it cannot be known without its library.

    Raises InputError when the folder or file cannot be read.
    """
    dataset = base(name, datasets)
    if dataset is None:
        return None
    if dataset.folder is not None:
        scanned = images(dataset.folder, tuple(sorted(dataset.splits.items())))
        return {split: {label: len(files) for label, files in found.items()} for split, found in scanned.items()}
    if dataset.npz is not None:
        return _npz_counts(Path(dataset.npz))
    if dataset.world is not None:
        return _world_counts(dataset.world)
    return None


def base(name: str, datasets: Mapping[str, Dataset | None]) -> Dataset | None:
    """The data set that a chain of `from` ends in."""
    seen: set[str] = set()
    dataset = datasets.get(name)
    while dataset is not None and dataset.from_ is not None and name not in seen:
        seen.add(name)
        name = dataset.from_
        dataset = datasets.get(name)
    return None if dataset is None or dataset.from_ is not None else dataset


@functools.lru_cache(maxsize=32)
def images(folder: str, splits: tuple[tuple[str, str], ...] = ()) -> dict[str, dict[str, list[Path]]]:
    """{split: {class: image files}} of an image folder. Raises InputError."""
    return {split: folders.scan(path) for split, path in folders.find_splits(Path(folder), dict(splits)).items()}


def _npz_counts(path: Path) -> Counts:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [str(name) for name in arrays["classes"]] if "classes" in arrays else None
            counts: Counts = {}
            for split, key in (("train", "y_train"), ("val", "y_val"), ("test", "y_test")):
                if key in arrays:
                    found = Counter(int(label) for label in np.asarray(arrays[key]).ravel())
                    counts[split] = {names[i] if names else str(i): n for i, n in sorted(found.items())}
            return counts
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as npz: {error}") from None


def _world_counts(world: World) -> Counts:
    from transferkit.data.world import SOURCE_CLASSES, TARGET_CLASSES

    classes = SOURCE_CLASSES if world.kind == "source" else TARGET_CLASSES
    return {"train": dict.fromkeys(classes, world.train), "val": dict.fromkeys(classes, world.val)}
