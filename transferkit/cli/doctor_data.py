"""What `doctor` finds out about a recipe's data: unreadable images, class counts, images in both train and val."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.data.survey import Survey, content_hash, copies, left_out_line, warnings
from transferkit.data.walk import Disk, Tree
from transferkit.recipe.counting import class_counts, surveyed

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset, Recipe

THREADS = 4
AS_GIVEN = Disk("")
Advance = Callable[[int], None]


def check_datasets(recipe: Recipe, advance: Advance = lambda count: None) -> dict[str, dict[str, Any]]:
    """{data set: findings}; data sets made from others are left out, their images are those of the others.

    `advance(n)` is called as images are read: see `images_to_read`.
    """
    return {
        name: check_dataset(name, recipe.datasets, advance)
        for name, dataset in recipe.datasets.items()
        if dataset.from_ is None
    }


def images_to_read(recipe: Recipe) -> int:
    """How many images `check_datasets` will decode."""
    found = [surveyed(dataset) for dataset in recipe.datasets.values() if dataset.from_ is None]
    return sum(len(files) for one in found if one is not None for files in one.images().values())


def check_dataset(name: str, datasets: Mapping[str, Dataset], advance: Advance = lambda count: None) -> dict[str, Any]:
    """Class counts of each split and, for folders and tars, bad images, duplicates and what is left out."""
    counts = class_counts(name, datasets) or {}
    found = surveyed(datasets[name])
    images = found.images() if found is not None else {}
    tree = found.tree if found is not None else AS_GIVEN
    bad = [one for split in images for one in _bad_images(name, datasets, split, found, advance)] if found else []
    return {
        "counts": counts,
        "imbalance": {split: imbalance(found) for split, found in counts.items()},
        "checked": sum(len(paths) for paths in images.values()),
        "on_bad_image": datasets[name].on_bad_image,
        "bad_images": bad,
        "duplicates": duplicates(images, tree),
        "within_train": repeated(images.get("train", []), tree),
        "left_out": [dataclasses.asdict(one) for one in found.left_out] if found is not None else [],
        "left_out_line": left_out_line(found) if found is not None else None,
        "warnings": warnings(found, name) if found is not None else [],
    }


def _bad_images(
    name: str, datasets: Mapping[str, Dataset], split: str, found: Survey, advance: Advance
) -> Iterator[dict[str, str]]:
    from transferkit.data.images import find_bad_images
    from transferkit.data.sources import open_split

    seen = 0

    def moved(done: int, total: int) -> None:
        nonlocal seen
        advance(done - seen)
        seen = done

    images = found.images()[split]
    if isinstance(found.tree, Disk):
        bad = find_bad_images([found.tree.name(image) for image in images], THREADS, moved)
    else:
        spec = datasets[name].model_copy(update={"on_bad_image": "error"})
        source = open_split(name, {**datasets, name: spec}, split)
        bad = list(source.find_bad(THREADS).values()) if source is not None else []
        advance(len(images))
    yield from ({"split": split, "path": one.path, "reason": one.reason} for one in bad)


def imbalance(counts: Mapping[str, int]) -> float | None:
    """How many times larger the largest class is than the smallest that has images."""
    filled = [count for count in counts.values() if count]
    return max(filled) / min(filled) if filled else None


def duplicates(files: Mapping[str, Sequence[str | Path]], tree: Tree = AS_GIVEN) -> list[dict[str, str]]:
    """Files of val or test with the very bytes of a training file; paths are those of the tree."""
    found = copies(tree, {split: list(map(str, paths)) for split, paths in files.items()}, None)
    return [
        {"split": split, "path": tree.name(file), "train": tree.name(original)} for split, file, original in found.pairs
    ]


def repeated(files: Sequence[str | Path], tree: Tree = AS_GIVEN) -> int:
    """How many files have the bytes of an earlier one."""
    with ThreadPoolExecutor(THREADS) as pool:
        return len(files) - len(set(pool.map(lambda file: content_hash(tree, str(file)), files)))
