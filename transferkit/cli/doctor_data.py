"""What `doctor` finds out about a recipe's data: unreadable images, class counts, images in both train and val."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.data.survey import Survey, content_hash, copies, left_out_line, warnings
from transferkit.data.walk import Disk, Tree
from transferkit.recipe.counting import class_counts, leakage, surveyed

if TYPE_CHECKING:
    from transferkit.data.images import BadImage, Size
    from transferkit.recipe.schema import Dataset, Recipe

THREADS = 4
AS_GIVEN = Disk("")
STRIP = 16
"""How many times longer than wide an image is to be kept an eye on."""
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
    bad, strips = _look_at(name, datasets, found, advance)
    return {
        "counts": counts,
        "imbalance": {split: imbalance(found) for split, found in counts.items()},
        "checked": sum(len(paths) for paths in images.values()),
        "on_bad_image": datasets[name].on_bad_image,
        "bad_images": bad,
        "strips": strips,
        "duplicates": duplicates(images, tree),
        "within_train": repeated(images.get("train", []), tree),
        "left_out": [dataclasses.asdict(one) for one in found.left_out] if found is not None else [],
        "left_out_line": left_out_line(found) if found is not None else None,
        "warnings": [*warnings(found, name), *leakage(name, datasets[name])] if found is not None else [],
    }


def _look_at(
    name: str, datasets: Mapping[str, Dataset], found: Survey | None, advance: Advance
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The images that cannot be read, and the strips, which a model may refuse: see `refused_strips`."""
    from transferkit.data.images import BadImage

    bad: list[dict[str, Any]] = []
    strips: list[dict[str, Any]] = []
    if found is None:
        return bad, strips
    for split in found.splits:
        for path, one in _read(name, datasets, split, found, advance):
            if isinstance(one, BadImage):
                bad.append({"split": split, "path": one.path, "reason": one.reason})
            elif max(one) >= STRIP * min(one):
                strips.append({"split": split, "path": path, "size": list(one)})
    return bad, strips


def _read(
    name: str, datasets: Mapping[str, Dataset], split: str, found: Survey, advance: Advance
) -> Iterator[tuple[str, BadImage | Size]]:
    """Every image of a split, by its path or id, and its size or why it cannot be read."""
    from transferkit.data.images import check_images
    from transferkit.data.sources import open_split

    seen = 0

    def moved(done: int, total: int) -> None:
        nonlocal seen
        advance(done - seen)
        seen = done

    if isinstance(found.tree, Disk):
        paths = found.files()[split]
        yield from zip(paths, check_images(paths, THREADS, moved), strict=True)
        return
    spec = datasets[name].model_copy(update={"on_bad_image": "error"})
    source = open_split(name, {**datasets, name: spec}, split)
    if source is not None:
        bad = source.find_bad(THREADS)
        assert source.sizes is not None
        for index, (id, size) in enumerate(zip(source.ids, source.sizes.tolist(), strict=True)):
            yield id, bad[index] if index in bad else (size[0], size[1])
    moved(len(found.images()[split]), 0)


def refused_strips(data: Mapping[str, Mapping[str, Any]], preprocessing: Mapping[str, Any]) -> None:
    """Add to each data set's bad images the strips that a model's preprocessing, as in config.json, refuses."""
    from transferkit.data.images import Unfit
    from transferkit.model.preprocessing import Preprocess, Preprocessing

    refuse = Preprocess(Preprocessing.from_json(preprocessing)).refuse
    for facts in data.values():
        for strip in facts["strips"]:
            try:
                refuse((strip["size"][0], strip["size"][1]))
            except Unfit as why:
                facts["bad_images"].append({"split": strip["split"], "path": strip["path"], "reason": str(why)})


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
