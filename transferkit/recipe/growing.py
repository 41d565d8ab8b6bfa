"""A class list that grows: first the classes that are known already, in their order, then a data set's own new ones.

What is known is said by another data set of the recipe, by a model folder or by a labels file. Needs no torch, so that
plans and recipes ask here as whatever trains and audits does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.data.folders import SOURCES, LabelRow, class_names, read_labels, rows_of
from transferkit.data.naming import listed_names, unlike
from transferkit.errors import InputError, Problem
from transferkit.recipe.lineage import resolve
from transferkit.system.atomic import read_json
from transferkit.words.formats import some
from transferkit.words.suggest import did_you_mean
from transferkit.words.text import one_line

if TYPE_CHECKING:
    from transferkit.recipe.schema import Dataset

CONFIG = "config.json"
ADVICE = "give a labels file instead (columns index, name, folder)"
TrainClasses = Callable[[str], Sequence[str]]
"""From the name of a data set to its reader's own names of its training classes."""


@dataclass(frozen=True)
class Grown:
    """A class list, and how many of its classes were known before."""

    classes: list[str]
    known: int
    """These come first."""

    @property
    def new(self) -> list[str]:
        """The classes that are not among the known ones."""
        return self.classes[self.known :]


def grown(name: str, datasets: Mapping[str, Dataset], train_classes: TrainClasses) -> Grown:
    """The class list of a data set, with what it grows from in front.

    Its own list is that of its labels file; or the classes of train, or those kept, by their names in the labels file
    (or in that of what is known, where it has none). Raises InputError for circles, and for what cannot be read.
    """
    spec, rows = resolve(name, datasets), rows_for(name, datasets)
    where = f"datasets.{name}"
    if spec.labels and spec.classes is None:
        own = class_names(rows)
    else:
        train = train_classes(name)
        listed = listed_names(train, rows, where, folders=spec.source in SOURCES)
        own = unlike([named or one for one, named in zip(train, listed, strict=True)], where)
    if spec.known is None:
        return Grown(own, 0)
    before = known_classes(name, datasets, train_classes)
    there = set(before)
    return Grown([*before, *(one for one in own if one not in there)], len(before))


def known_classes(name: str, datasets: Mapping[str, Dataset], train_classes: TrainClasses) -> list[str]:
    """The classes that a data set grows from; empty for one that does not. Raises InputError as `grown` does."""
    known = grows_from(name, datasets)[1:]
    if not known:
        return []
    if known[0] in datasets:
        return grown(known[0], datasets, train_classes).classes
    return listed_classes(Path(known[0]))


def listed_classes(path: Path) -> list[str]:
    """The class names of a model folder or a labels file. Raises InputError."""
    return model_classes(path) if path.is_dir() else class_names(read_labels(path))


def grows_from(name: str, datasets: Mapping[str, Dataset]) -> list[str]:
    """A data set, what it grows from, and so on: names of data sets, and perhaps a path at the end.

    Raises InputError for a circle, for a table, and for what is neither a data set nor there.
    """
    chain = [name]
    while chain[-1] in datasets and (known := resolve(chain[-1], datasets).known) is not None:
        at = f"datasets.{chain[-1]}.known"
        if known in chain:
            circle = chain[chain.index(known) :]
            what = f"goes round in a circle: {' -> '.join([*circle, known])}"
            raise InputError(Problem(f"datasets.{min(circle)}.known", what))
        if known not in datasets and not Path(known).exists():
            what = f'there is no data set called "{known}", and no such model folder or labels file'
            raise InputError(Problem(at, what, did_you_mean(known, datasets)))
        if known in datasets and resolve(known, datasets).synthetic is not None:
            raise InputError(Problem(at, f'"{known}" is a table, which has no classes'))
        chain.append(known)
    return chain


def rows_for(name: str, datasets: Mapping[str, Dataset]) -> list[LabelRow]:
    """The labels file that says which class a class folder is: the data set's own, or that of what it grows from."""
    for one in grows_from(name, datasets):
        labels = resolve(one, datasets).labels if one in datasets else None if Path(one).is_dir() else one
        if rows := rows_of(labels):
            return rows
    return []


def model_classes(folder: Path) -> list[str]:
    """The class names of a model folder, as its config.json has them. Raises InputError where there are none."""
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{folder} has no {CONFIG}, so it is no model folder; {ADVICE}")
    content = read_json(path)
    inner, own = content.get("pretrained_cfg"), content.get("transferkit")
    names = own.get("classes") if isinstance(own, dict) else None
    names = names or content.get("label_names") or (inner.get("label_names") if isinstance(inner, dict) else None)
    if not isinstance(names, list) or not names or not all(isinstance(one, str) for one in names):
        raise InputError(f"{path} names no classes; {ADVICE}")
    if names == [str(index) for index in range(len(names))]:
        raise InputError(f"{path}: the model was saved without class names; {ADVICE}")
    return unlike([one_line(one) for one in names], str(path))


def growth_line(name: str, found: Grown) -> str:
    """What to say of a class list that grows: "new: 10 classes are known, 2 are new: ring, square"."""
    known = f"{name}: {found.known} classes are known"
    return f"{known}, {len(found.new)} new: {some(found.new)}" if found.new else f"{known}, and none is new"
