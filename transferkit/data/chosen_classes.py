"""`classes:` of a data set: some of its classes, by name or so many drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.folders import LabelRow
from transferkit.data.naming import listed_names
from transferkit.data.randomness import numpy_rng
from transferkit.data.sources import Contents
from transferkit.errors import InputError, Problem
from transferkit.suggest import did_you_mean
from transferkit.text import comparable


def kept_classes(
    wanted: Sequence[str] | int, classes: Sequence[str], rows: Sequence[LabelRow], where: str
) -> list[str]:
    """The wanted ones among a reader's classes, given by their own names or by those of a labels file.

    A number draws so many, the same ones every time, in the order of the list. Raises InputError for names that are
    not there, names given twice, and more classes than there are.
    """
    if isinstance(wanted, int):
        if wanted > len(classes):
            raise InputError(Problem(where, f"classes: {wanted} are wanted, but there are only {len(classes)}"))
        drawn = np.sort(numpy_rng(0, "classes", wanted).permutation(len(classes))[:wanted])
        return [classes[index] for index in drawn]
    listed = listed_names(classes, rows, where, folders=True)
    by_name = {comparable(name): own for own, name in zip(classes, listed, strict=True) if name}
    by_folder = {comparable(name): name for name in classes}
    kept = []
    for name in wanted:
        folder, named = by_folder.get(comparable(name)), by_name.get(comparable(name))
        if folder is None and named is None:
            hint = did_you_mean(name, {*by_folder, *by_name}, limit=6)
            raise InputError(Problem(where, f'classes: there is no class "{name}"', hint))
        if folder is not None and named is not None and folder != named:
            what = f'classes: "{name}" is one class by its folder, and by its name the class in the folder "{named}"'
            raise InputError(Problem(where, what, "say it by a name or folder that is no other class's"))
        kept.append(folder or named or "")
    if len(set(kept)) < len(kept):
        raise InputError(Problem(where, "classes: a class is named twice"))
    return kept


def only(contents: Contents, kept: Sequence[str]) -> Contents:
    """The contents without the images of other classes; labels are places in `kept`."""
    place = {name: index for index, name in enumerate(kept)}
    new = np.array([place.get(name, -1) for name in contents.classes], dtype=np.int64)
    labels = new[contents.labels]
    chosen = np.flatnonzero(labels >= 0)
    return replace(
        contents,
        classes=list(kept),
        labels=labels[chosen],
        ids=[contents.ids[index] for index in chosen],
        read=_Chosen(contents.read, chosen),
        content=_Content(contents.content, chosen),
        paths=None if contents.paths is None else [contents.paths[index] for index in chosen],
    )


@dataclass
class _Chosen:
    read: Callable[[int], Image.Image]
    chosen: NDArray[np.int64]

    def __call__(self, index: int) -> Image.Image:
        return self.read(int(self.chosen[index]))


@dataclass
class _Content:
    content: Callable[[], bytes]
    chosen: NDArray[np.int64]

    def __call__(self) -> bytes:
        return self.content() + np.ascontiguousarray(self.chosen, dtype="<i8").tobytes()
