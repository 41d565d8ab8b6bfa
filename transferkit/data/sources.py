"""One shape for every kind of data set: labelled images of one split, their labels in one class list."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.folders import SOURCES, SPLIT_NAMES, LabelRow, class_names, read_labels
from transferkit.data.images import BadImage, Size, Unfit, check_images
from transferkit.data.naming import listed_names, one_class, placed, renamed, unlike
from transferkit.errors import InputError, Problem
from transferkit.suggest import did_you_mean
from transferkit.text import one_line

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset

CHECKING_THREADS = 8
MACHINE = {os.strerror(number) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ESTALE)}
"""Why a file cannot be opened that is no reason to leave it out."""


@dataclass
class Contents:
    """What a reader found for one split, labelled by its own class names."""

    classes: list[str]
    labels: NDArray[np.int64]
    ids: list[str]
    read: Callable[[int], Image.Image]
    """The upright RGB image at an index. Raises BadImage."""
    content: Callable[[], bytes]
    """What distinguishes the images besides ids and labels: file sizes or hashes."""
    paths: list[str] | None = None
    strict: bool = False
    """Whether a class without images is a mistake: an empty class folder."""

    def __post_init__(self) -> None:
        # from here on a name can be shown, compared and written: file systems allow bytes that are no text
        self.classes, self.ids = [one_line(name) for name in self.classes], [one_line(name) for name in self.ids]


@dataclass
class Source:
    """The images of one split of a data set; labels are indices into `classes`."""

    classes: list[str]
    labels: NDArray[np.int64]
    ids: list[str]
    contents: Contents
    kept: NDArray[np.int64]
    bad_images: list[BadImage] = field(default_factory=list)
    """What `on_bad_image: skip` left out."""
    skipping: bool = False
    """Whether what cannot be read is left out already."""
    sizes: NDArray[np.int64] | None = None
    """(n, 2) width and height, where `on_bad_image: skip` has read every image."""

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image.Image:
        """The image, RGB and upright. Raises BadImage with its path, class and reason."""
        try:
            return self.contents.read(int(self.kept[index]))
        except BadImage as bad:
            raise self._later(self.bad(index, bad)) from None

    def _later(self, bad: BadImage) -> BadImage:
        """What is said of an image that was there, and perhaps read, when the data set was opened."""
        reason, advice = bad.reason, bad.advice
        if bad.kind == "unavailable":
            if self.contents.paths is not None and not os.path.lexists(bad.path):
                reason = "the file has vanished since the data set was opened"
            advice = "This is no fault of the image: see to the disk and to who changes the data, then resume"
        elif self.skipping:
            advice = "It could be read when the data set was opened: the file has changed since, or the disk fails"
        return BadImage(bad.path, reason, bad.class_name, bad.kind, advice)

    def bad(self, index: int, why: BadImage | Unfit) -> BadImage:
        """The refusal of an image with its path, or id, and class."""
        paths, label = self.contents.paths, self.classes[self.labels[index]]
        if isinstance(why, BadImage):
            return BadImage(why.path, why.reason, label, why.kind)
        return BadImage(str(paths[self.kept[index]]) if paths else self.ids[index], str(why), label, why.kind)

    def fingerprint(self) -> str:
        """A hash of class list, ids, labels and contents; never of file times or of where the files lie."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = blake2b(digest_size=16)
        for names in (self.classes, self.ids):
            digest.update("\0".join([str(len(names)), *names]).encode())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").tobytes())
        digest.update(self.contents.content())
        return digest.hexdigest()

    def find_bad(self, workers: int = CHECKING_THREADS, cache: Path | None = None) -> dict[int, BadImage]:
        """Decode every image: {index: why it cannot be read}. `cache` is for files, see `check_images`.

        What is asked afterwards knows the `sizes` of the others.
        """
        paths = self.contents.paths
        if paths is None:
            found = self._decode_all(workers)
        else:
            found = check_images([paths[index] for index in self.kept], workers, cache=cache)
        self.sizes = np.array([(0, 0) if isinstance(one, BadImage) else one for one in found], np.int64).reshape(-1, 2)
        refused = {index: self.bad(index, one) for index, one in enumerate(found) if isinstance(one, BadImage)}
        passing = next((one for one in refused.values() if one.reason in MACHINE), None)
        if passing is not None:
            raise InputError(
                f"cannot read the image {passing.path}: {passing.reason}. That is no fault of the image: try again"
            )
        return refused

    def _decode_all(self, workers: int) -> list[BadImage | Size]:
        def check(index: int) -> BadImage | Size:
            try:
                return self.contents.read(int(self.kept[index])).size
            except BadImage as bad:
                return bad

        with ThreadPoolExecutor(max(1, workers)) as pool:
            return list(pool.map(check, range(len(self))))


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
    rows = _rows(spec)
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
    if strict:
        _refuse_empty(source, where)
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
    return class_names(_rows(resolve(name, datasets)))


def split_contents(name: str, datasets: Mapping[str, Dataset], split: str) -> Contents | None:
    """What a reader finds for one split, with the data set's own classes; None when there is no such split."""
    return _read(resolve(name, datasets), split)


def resolve(name: str, datasets: Mapping[str, Dataset]) -> Dataset:
    """The data set with its `from` chain followed: what it says itself wins. Raises InputError."""
    chain = [name]
    spec = _named(name, datasets, name)
    changes: dict[str, object] = {}
    while spec.from_ is not None:
        own = {key: getattr(spec, key) for key in spec.model_fields_set - {"from_", "corruptions"}}
        changes = own | changes
        if spec.from_ in chain:
            raise InputError(f"datasets.{name}: {' -> '.join([*chain, spec.from_])} goes in a circle")
        chain.append(spec.from_)
        spec = _named(spec.from_, datasets, chain[-2])
    return spec.model_copy(update=changes)


def _named(name: str, datasets: Mapping[str, Dataset], by: str) -> Dataset:
    if name not in datasets:
        raise InputError(Problem(f"datasets.{by}", f'no data set called "{name}"', did_you_mean(name, datasets)))
    return datasets[name]


def _rows(spec: Dataset) -> list[LabelRow]:
    return read_labels(Path(spec.labels).expanduser()) if spec.labels else []


def _read(spec: Dataset, split: str) -> Contents | None:
    """What the reader finds, of the classes that are kept."""
    contents = _read_all(spec, split)
    if contents is None or spec.synthetic is not None:
        return contents
    contents.classes = unlike(contents.classes, f"{spec.source} ({split})")
    if spec.classes is None:
        return contents
    from transferkit.data.chosen_classes import kept_classes, only

    whole = contents if split == "train" else _read_all(spec, "train") or contents
    return only(contents, kept_classes(spec.classes, whole.classes, _rows(spec), f"{spec.source} ({split})"))


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
    from transferkit.data import file_sources

    readers: dict[str, Callable[[Dataset, str], Contents | None]] = {
        "folder": file_sources.folder,
        "npz": file_sources.npz,
        "tar": file_sources.tar,
    }
    return readers[spec.source](spec, split)


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


def _refuse_empty(source: Source, where: str) -> None:
    counts = np.bincount(source.labels, minlength=len(source.classes))
    hint = "add images or remove it"
    problems = [
        Problem(where, f'the class "{source.classes[label]}" has no readable images', hint)
        for label in np.flatnonzero(counts == 0)
    ]
    if problems:
        raise InputError(problems)
