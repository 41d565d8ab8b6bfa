"""How many images a stage has, counted without opening one: for checks before anything starts, and for plans."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from transferkit.data import folders
from transferkit.data.archives import open_archive
from transferkit.data.survey import Copies, Survey, copies, copies_line, left_out_line, survey, warnings
from transferkit.recipe.schema import Dataset, World

Counts = dict[str, dict[str, int]]


def class_counts(name: str, datasets: Mapping[str, Dataset | None]) -> Counts | None:
    """{split: {class: images}} of the classes that a data set keeps, or None when it takes a library to know.

    Raises InputError when the folder or file cannot be read, or has no such splits or classes.
    """
    counts = every_class(name, datasets)
    return None if counts is None else kept_counts(counts, name, datasets)


def every_class(name: str, datasets: Mapping[str, Dataset | None]) -> Counts | None:
    """The same of all classes that there are, whatever `classes` says."""
    dataset = resolved(name, datasets)
    if dataset is None:
        return None
    found = surveyed(dataset)
    if found is not None:
        return {split: {name: len(files) for name, files in classes.items()} for split, classes in found.splits.items()}
    if dataset.npz is not None:
        return _npz_counts(dataset)
    if dataset.world is not None:
        return _world_counts(dataset.world)
    if dataset.synthetic is not None:
        return {"train": {"y": dataset.synthetic.train}, "val": {"y": dataset.synthetic.val}}
    return None


def kept_counts(counts: Counts, name: str, datasets: Mapping[str, Dataset | None]) -> Counts:
    """The counts of the classes that a data set keeps, in its order. Raises InputError for those that are not there."""
    dataset = resolved(name, datasets)
    if dataset is None or dataset.classes is None or dataset.synthetic is not None:
        return counts
    from transferkit.data.chosen_classes import kept_classes

    names = list(counts.get("train") or next(iter(counts.values()), {}))
    if dataset.npz is not None:  # whose class list may name classes without images
        from transferkit.data.file_sources import npz_labels

        names = npz_labels(dataset)[0]
    rows = folders.read_labels(Path(dataset.labels)) if dataset.labels is not None else []
    kept = kept_classes(dataset.classes, names, rows, f"datasets.{name}")
    return {split: {label: found[label] for label in kept if label in found} for split, found in counts.items()}


def resolved(name: str, datasets: Mapping[str, Dataset | None]) -> Dataset | None:
    """The data set with its chain of `from` followed: what it says itself wins over what it is made from.

    None where the chain has no end, which the checks say elsewhere.
    """
    chain: list[Dataset] = []
    dataset = datasets.get(name)
    while dataset is not None and dataset.from_ is not None and len(chain) <= len(datasets):
        chain.append(dataset)
        dataset = datasets.get(dataset.from_)
    if dataset is None or dataset.from_ is not None:
        return None
    said: dict[str, object] = {}
    for one in reversed(chain):
        said |= {key: getattr(one, key) for key in one.model_fields_set - {"from_", "corruptions"}}
    return dataset.model_copy(update=said) if said else dataset


def surveyed(dataset: Dataset) -> Survey | None:
    """What lies in the folder or tar of a data set, looked through once; None for other sources. Raises InputError."""
    if dataset.source not in folders.SOURCES:
        return None
    return _survey(*_key(dataset))


def remarks(name: str, dataset: Dataset) -> list[str]:
    """What was found in a folder or tar that is probably a mistake, and all that is left out, in lines for people."""
    found = surveyed(dataset)
    if found is None:
        return []
    said = [f"warning: {text}" for text in [*warnings(found, name), copies_line(_copies(*_key(dataset)), name)] if text]
    rest = left_out_line(found)
    return [*said, f"{name}: {rest}"] if rest else said


def forget() -> None:
    """Look anew from here on."""
    _survey.cache_clear()
    _copies.cache_clear()


def _key(dataset: Dataset) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return dataset.source, str(dataset.folder or dataset.tar), tuple(sorted(dataset.splits.items()))


@functools.lru_cache(maxsize=32)
def _copies(source: str, place: str, splits: tuple[tuple[str, str], ...]) -> Copies:
    found = _survey(source, place, splits)
    return copies(found.tree, found.images())


@functools.lru_cache(maxsize=32)
def _survey(source: str, place: str, splits: tuple[tuple[str, str], ...]) -> Survey:
    path = Path(place).expanduser()
    return survey(folders.on_disk(path) if source == "folder" else open_archive(path), dict(splits))


def _npz_counts(dataset: Dataset) -> Counts:
    from transferkit.data.file_sources import npz_labels

    classes, splits = npz_labels(dataset)
    counted = {split: Counter(labels.tolist()) for split, labels in splits.items()}
    return {split: {classes[label]: n for label, n in sorted(found.items())} for split, found in counted.items()}


def _world_counts(world: World) -> Counts:
    from transferkit.data.world_classes import CLASSES

    classes = CLASSES[world.kind]
    return {"train": dict.fromkeys(classes, world.train), "val": dict.fromkeys(classes, world.val)}
