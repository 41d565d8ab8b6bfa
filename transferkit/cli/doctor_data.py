"""What `doctor` finds out about a recipe's data: unreadable images, class counts, images in both train and val."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.data.folders import find_splits, scan
from transferkit.recipe.counting import class_counts

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset, Recipe

THREADS = 4
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
    return sum(len(files) for dataset in recipe.datasets.values() for files in _files(dataset).values())


def check_dataset(name: str, datasets: Mapping[str, Dataset], advance: Advance = lambda count: None) -> dict[str, Any]:
    """Class counts of each split and, for folders, bad images and duplicates."""
    counts = class_counts(name, datasets) or {}
    files = _files(datasets[name])
    bad, strips = _look_at(files, advance)
    return {
        "counts": counts,
        "imbalance": {split: imbalance(found) for split, found in counts.items()},
        "checked": sum(len(paths) for paths in files.values()),
        "on_bad_image": datasets[name].on_bad_image,
        "bad_images": bad,
        "strips": strips,
        "duplicates": duplicates(files),
        "within_train": repeated(files.get("train", [])),
    }


def _files(dataset: Dataset) -> dict[str, list[Path]]:
    """The image files of a folder by split; nothing for other sources."""
    if dataset.folder is None:
        return {}
    splits = find_splits(Path(dataset.folder).expanduser(), {str(name): own for name, own in dataset.splits.items()})
    return {split: [path for found in scan(folder).values() for path in found] for split, folder in splits.items()}


def _look_at(files: Mapping[str, list[Path]], advance: Advance) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The images that cannot be read, and the strips, which a model may refuse: see `refused_strips`."""
    from transferkit.data.images import BadImage, check_images

    bad, strips, seen = [], [], 0

    def moved(done: int, total: int) -> None:
        nonlocal seen
        advance(done - seen)
        seen = done

    for split, paths in files.items():
        seen = 0
        for path, found in zip(paths, check_images(paths, THREADS, moved), strict=True):
            if isinstance(found, BadImage):
                bad.append({"split": split, "path": found.path, "reason": found.reason})
            elif max(found) >= STRIP * min(found):
                strips.append({"split": split, "path": str(path), "size": list(found)})
    return bad, strips


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


def content_hash(path: Path) -> str:
    """A hash of the file's bytes; of its path if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError:
        return str(path)


def duplicates(files: Mapping[str, list[Path]]) -> list[dict[str, str]]:
    """Files of val or test with the very bytes of a training file."""
    train = {digest: path for path, digest in _hashed(files.get("train", []))}
    return [
        {"split": split, "path": str(path), "train": str(train[digest])}
        for split in ("val", "test")
        for path, digest in _hashed(files.get(split, []))
        if digest in train
    ]


def repeated(paths: list[Path]) -> int:
    """How many files have the bytes of an earlier one."""
    return len(paths) - len({digest for _, digest in _hashed(paths)})


def _hashed(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield from zip(paths, pool.map(content_hash, paths), strict=True)
