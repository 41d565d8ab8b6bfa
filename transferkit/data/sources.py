"""One shape for every kind of data set: labelled images of one split, their labels in one class list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transferkit.data import image_tables, shards
from transferkit.data.contents import CHECKING_THREADS, Contents, Source, only
from transferkit.data.folders import SOURCES, SPLIT_NAMES, LabelRow, class_names, rows_of
from transferkit.data.grouping import groups_of
from transferkit.data.images import BadImage
from transferkit.data.naming import kept_classes, listed_names, one_class, placed, renamed, unlike
from transferkit.errors import InputError, Problem
from transferkit.recipe.lineage import resolve
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset


def open_split(
    name: str,
    datasets: Mapping[str, Dataset],
    split: str,
    classes: list[str] | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
    cache: Path | None = None,
    workers: int = CHECKING_THREADS,
) -> Source | None:
    """One split of the data set called `name`, or None when it has no such split.

    Labels follow `classes`: the class list of the recipe, taken from its training data. Without one the
    list is that of the labels file, or of the data set's own train split. `aliases` says which entry of `classes`
    a class folder is, instead of the labels file. `cache` is the folder in which the results of checking images
    (`on_bad_image: skip`) are kept.

    Raises InputError when the data are missing or damaged, a class is not in the list, a class folder of the
    training split is empty, or a split that the recipe maps does not exist.
    """
    if split not in SPLIT_NAMES:
        raise InputError(Problem(f"datasets.{name}", f'"{split}" is no split', did_you_mean(split, SPLIT_NAMES)))
    spec = resolve(name, datasets)
    where = f"datasets.{name} ({split})"
    contents = _read(spec, split)
    if contents is None:
        return None
    if spec.synthetic is not None:
        from transferkit.data import tables

        return tables.open_table(contents)
    rows = rows_of(spec.labels)
    strict = contents.strict and classes is None and not rows and split == "train"
    if aliases is not None and classes is not None:
        entries = renamed(contents.classes, aliases, classes, where)
    else:
        if classes is None:
            classes = _class_list(spec, split, contents, rows, where)
        entries = placed(contents.classes, classes, rows, where, folders=spec.source in SOURCES)
    position = {entry: index for index, entry in enumerate(classes)}
    labels = np.array([position[entry] for entry in entries], dtype=np.int64)[contents.labels]
    source = Source(classes, labels, contents.ids, contents, np.arange(len(labels)))
    if spec.on_bad_image == "skip":
        source = _without(source, source.find_bad(workers, cache))
    empty = np.flatnonzero(np.bincount(source.labels, minlength=len(classes)) == 0) if strict else ()
    if len(empty):
        what = 'the class "{}" has no readable images'
        raise InputError([Problem(where, what.format(classes[label]), "add images or remove it") for label in empty])
    if not len(source):
        raise InputError(Problem(where, "there is no image in this split"))
    return source


def refuse_one_class(source: Source, name: str, datasets: Mapping[str, Dataset]) -> None:
    """Raise InputError for training images that are all of one class: there is nothing to tell apart.

    A class list may have more classes than there are images of, as for a model that knows them already.
    """
    spec = resolve(name, datasets)
    if spec.synthetic is None and len(np.unique(source.labels)) < 2 and (len(source.classes) < 2 or not spec.labels):
        raise InputError(one_class(f"datasets.{name} (train)", source.classes[source.labels[0]], None))


def labelled_classes(name: str, datasets: Mapping[str, Dataset]) -> list[str]:
    """The whole class list of the data set's labels file; empty without one."""
    return class_names(rows_of(resolve(name, datasets).labels))


def split_contents(name: str, datasets: Mapping[str, Dataset], split: str) -> Contents | None:
    """What a reader finds for one split, with the data set's own classes; None when there is no such split."""
    return _read(resolve(name, datasets), split)


def _read(spec: Dataset, split: str) -> Contents | None:
    """What the reader finds, of the classes that are kept."""
    contents = _read_all(spec, split)
    if contents is None or spec.synthetic is not None:
        return contents
    contents.classes = unlike(contents.classes, f"{spec.source} ({split})")
    if spec.group is not None and contents.groups is None:
        contents.groups = groups_of(contents.ids, spec.group)
    if spec.classes is None:
        return contents
    whole = contents if split == "train" else _read_all(spec, "train") or contents
    return only(contents, kept_classes(spec.classes, whole.classes, rows_of(spec.labels), f"{spec.source} ({split})"))


def _read_all(spec: Dataset, split: str) -> Contents | None:
    if spec.source in ("torchvision", "hf"):
        from transferkit.data import library_sources

        return (library_sources.hf if spec.hf else library_sources.torchvision)(spec, split)
    if spec.source == "world":
        from transferkit.data import world

        return world.read(spec, split)
    if spec.source == "synthetic":
        from transferkit.data import tables

        return tables.read(spec, split)
    if spec.source == "reader":
        from transferkit.data import readers

        return readers.read(spec, split)
    if spec.source in image_tables.SOURCES:
        from transferkit.data import row_sources

        return row_sources.read(spec, split)
    if spec.source == shards.SOURCE:
        from transferkit.data import row_sources

        return row_sources.of_shards(spec, split)
    from transferkit.data import file_sources

    return {"folder": file_sources.folder, "npz": file_sources.npz, "tar": file_sources.tar}[spec.source](spec, split)


def _class_list(spec: Dataset, split: str, contents: Contents, rows: list[LabelRow], where: str) -> list[str]:
    """The class list of the labels file; or the classes of train, or those kept, by their names in the labels file."""
    if rows and spec.classes is None:
        return class_names(rows)
    train = contents if split == "train" or spec.classes is not None else _read(spec, "train") or contents
    named = listed_names(train.classes, rows, where, folders=spec.source in SOURCES)
    return unlike([name or own for own, name in zip(train.classes, named, strict=True)], where)


def _without(source: Source, bad: Mapping[int, BadImage]) -> Source:
    good = np.array([index for index in range(len(source)) if index not in bad], dtype=np.int64)
    ids = [source.ids[index] for index in good]
    sizes = None if source.sizes is None else source.sizes[good]
    return Source(source.classes, source.labels[good], ids, source.contents, good, list(bad.values()), True, sizes)
