"""`classes:` of a data set: some of its classes, by name or so many drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.folders import LabelRow, class_names
from transferkit.data.randomness import numpy_rng
from transferkit.data.sources import Contents
from transferkit.errors import InputError, Problem
from transferkit.suggest import did_you_mean


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
    folder_of = {name: row.folder for row, name in zip(rows, class_names(rows), strict=True)}
    folder_of |= {name: name for name in classes}
    unknown = [name for name in wanted if folder_of.get(name) not in classes]
    if unknown:
        hint = did_you_mean(unknown[0], folder_of, limit=6)
        raise InputError(Problem(where, f'classes: there is no class "{unknown[0]}"', hint))
    kept = [folder_of[name] for name in wanted]
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
