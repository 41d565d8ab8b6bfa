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
    bad = [one for split, paths in files.items() for one in _bad_images(split, paths, advance)]
    return {
        "counts": counts,
        "imbalance": {split: imbalance(found) for split, found in counts.items()},
        "checked": sum(len(paths) for paths in files.values()),
        "on_bad_image": datasets[name].on_bad_image,
        "bad_images": bad,
        "duplicates": duplicates(files),
        "within_train": repeated(files.get("train", [])),
    }


def _files(dataset: Dataset) -> dict[str, list[Path]]:
    """The image files of a folder by split; nothing for other sources."""
    if dataset.folder is None:
        return {}
    splits = find_splits(Path(dataset.folder).expanduser(), {str(name): own for name, own in dataset.splits.items()})
    return {split: [path for found in scan(folder).values() for path in found] for split, folder in splits.items()}


def _bad_images(split: str, paths: list[Path], advance: Advance) -> Iterator[dict[str, str]]:
    from transferkit.data.images import find_bad_images

    seen = 0

    def moved(done: int, total: int) -> None:
        nonlocal seen
        advance(done - seen)
        seen = done

    for bad in find_bad_images(paths, THREADS, moved):
        yield {"split": split, "path": bad.path, "reason": bad.reason}


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
