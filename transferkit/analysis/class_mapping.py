"""Which class of the source model each class of the source images is: from evidence, and never by a silent guess."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferkit.data.folders import LabelRow, class_names, read_labels
from transferkit.data.naming import listed_names, refuse_two_as_one
from transferkit.errors import InputError, Problem
from transferkit.recipe import schema
from transferkit.words.doors import option
from transferkit.words.formats import some
from transferkit.words.suggest import closest
from transferkit.words.text import comparable

SHOWN = 4
WORDNET_ID = re.compile(r"n\d{8}")
ENOUGH = 0.9  # share of names by which a list is recognised as that of ImageNet


@dataclass(frozen=True)
class ClassList:
    """The classes of the source model, and which of them each class folder is."""

    names: list[str]
    """(K,) unique names, in the order of the model's outputs."""
    aliases: dict[str, str]
    """{class folder: its entry in `names`}, for every folder."""
    how: str
    """A sentence for people: on what evidence."""
    assumed: bool = False
    """Whether it rests on a convention that nothing here can confirm."""


def source_class_list(model_classes: Sequence[str], spec: schema.Dataset, folders: Sequence[str]) -> ClassList:
    """The mapping for these folders; they may be any subset of the model's classes.

    Evidence, in this order: the data set's class list (`labels`); the model's own class names; WordNet ids or names
    of the ImageNet subset with as many classes; folders named by class numbers; exactly one folder per nameless
    class, in sorted order. Raises InputError when none of them holds or two of them contradict each other.
    """
    if spec.labels is not None:
        return _by_list(model_classes, Path(spec.labels).expanduser(), folders)
    names = unique(model_classes)
    found = (
        _by_name(names, folders)
        or _by_imagenet(model_classes, folders)
        or _by_number(model_classes, folders)
        or _by_order(names, folders)
    )
    if found is None:
        raise _no_evidence(names, folders)
    refuse_two_as_one([*found.aliases], [*found.aliases.values()], "")
    return found


def nameless(classes: Sequence[str]) -> bool:
    """Whether the classes are called 0, 1, 2, …: the model was saved without names."""
    return list(classes) == [str(index) for index in range(len(classes))]


def matching_outputs(target: Sequence[str], other: Sequence[str]) -> list[int]:
    """Which output of another model of the target task each of M^t's classes is.

    By name, of which the other may have more; by order where one of them has no names. Raises InputError for other
    classes.
    """
    numbers = {name: number for number, name in enumerate(other)}
    if set(target) <= set(numbers):
        return [numbers[name] for name in target]
    if len(target) == len(other) and (nameless(target) or nameless(other)):
        return list(range(len(target)))
    missing = some([f'"{name}"' for name in target if name not in numbers])
    raise InputError(
        f"the baseline has other classes than the target ({missing} not among its {len(other)}); "
        "give a baseline that was trained on the same task"
    )


def unique(classes: Sequence[str]) -> list[str]:
    """The names with the class number added where two classes share one."""
    times = Counter(classes)
    return [name if times[name] == 1 else f"{name} ({index})" for index, name in enumerate(classes)]


# --- a class list in a CSV ----------------------------------------------------------------------------------


def _by_list(model_classes: Sequence[str], path: Path, folders: Sequence[str]) -> ClassList:
    rows = read_labels(path)
    if len(rows) != len(model_classes):
        raise InputError(
            f"{path} lists {len(rows)} classes and the source model has {len(model_classes)}; "
            "a class list needs one row for every class of the model, also for those without images"
        )
    _refuse_contradiction(model_classes, rows, path)
    names = class_names(rows)
    known = [row.folder for row in rows]
    found = dict(zip(folders, listed_names(folders, rows, str(path), folders=True), strict=True))
    strangers = [folder for folder, name in found.items() if name is None]
    aliases = {folder: name for folder, name in found.items() if name is not None}
    if strangers:
        hint = closest(strangers[0], known)
        raise InputError(
            Problem(
                str(path),
                f"{_listed(strangers)}: no such class in this list, whose folders are {_listed(known)}",
                f'did you mean "{hint}"?' if hint else "add a row, or leave the folder out of the source data",
            )
        )
    return ClassList(names, aliases, f"the class list {path.name} says which class each folder is")


def _refuse_contradiction(model_classes: Sequence[str], rows: Sequence[LabelRow], path: Path) -> None:
    """The model's own names in another order than the list has them: one of the two is of another model."""
    if nameless(model_classes):
        return
    own = [comparable(name) for name in model_classes]
    for listed in ([row.name for row in rows], [row.folder for row in rows]):
        if set(listed) == set(own) and listed != own:
            at = next(i for i, (ours, theirs) in enumerate(zip(own, listed, strict=True)) if ours != theirs)
            raise InputError(
                f'{path} contradicts the source model: class {at} is "{listed[at]}" in the list and '
                f'"{model_classes[at]}" in the model; give the list that belongs to this model, or none'
            )


# --- the model's own names ----------------------------------------------------------------------------------


def _by_name(names: Sequence[str], folders: Sequence[str]) -> ClassList | None:
    """Folders called as the model's classes are, or so but for case, underscores and dashes."""
    if nameless(names):
        return None
    how = "the class folders are called as the source model's classes are"
    known = {comparable(name): name for name in names}
    if all(comparable(folder) in known for folder in folders):
        return ClassList(list(names), {folder: known[comparable(folder)] for folder in folders}, how)
    loosely = {words(name): name for name in names}
    if len(loosely) < len(names) or not {words(folder) for folder in folders} <= set(loosely):
        return None
    aliases = {folder: loosely[words(folder)] for folder in folders}
    return ClassList(list(names), aliases, f"{how}, but for case, underscores and dashes")


# --- ImageNet -----------------------------------------------------------------------------------------------


@functools.cache
def imagenet_rows(count: int) -> list[LabelRow] | None:
    """Index, WordNet id and name of every class of the ImageNet subset with so many classes; None if there is none.

    They are as timm orders them, without asking a network.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    ids = info.label_names()
    return [LabelRow(index, wnid, info.label_name_to_description(wnid)) for index, wnid in enumerate(ids)]


def meanings(rows: Iterable[LabelRow]) -> dict[str, set[int]]:
    """{what a class may be called, in the form of `words`: the classes}: id, whole name and each of its synonyms."""
    found: dict[str, set[int]] = {}
    for row in rows:
        for name in (row.folder, row.name, *row.name.split(",")):
            found.setdefault(words(name), set()).add(row.index)
    return found


def are_imagenet(classes: Sequence[str], rows: Sequence[LabelRow]) -> bool:
    """Whether class names are ImageNet's ids or names in this order; lists in circulation differ in a few."""
    same = sum(
        given == row.folder or words(given) in (words(row.name), words(row.name.split(",")[0]))
        for given, row in zip(classes, rows, strict=True)
    )
    return same >= ENOUGH * len(rows)


def _by_imagenet(model_classes: Sequence[str], folders: Sequence[str]) -> ClassList | None:
    """By WordNet id or by name, for a model with the classes of an ImageNet subset; None when it has not."""
    rows = imagenet_rows(len(model_classes))
    if rows is None or not (nameless(model_classes) or are_imagenet(model_classes, rows)):
        return None
    ids = {row.folder: row.index for row in rows}
    if folders and all(WORDNET_ID.fullmatch(folder) for folder in folders):
        strangers = [folder for folder in folders if folder not in ids]
        if strangers:
            raise InputError(
                f"{_listed(strangers)}: not among the {len(rows)} classes of ImageNet that a model with "
                f"{len(rows)} outputs has; leave these folders out of the source data, or say which class each folder "
                f"is with {option('source-labels', 'FILE.csv')} (columns index, name, folder)"
            )
        indices, what = {folder: ids[folder] for folder in folders}, "WordNet ids"
    else:
        by_name = _imagenet_by_name(rows, folders)
        if by_name is None:
            return None
        indices, what = by_name, "names"
    names = class_names(rows) if nameless(model_classes) else unique(model_classes)
    how = f"the class folders are {what} of ImageNet, in the standard order of its {len(rows):,} classes"
    return ClassList(names, {folder: names[index] for folder, index in indices.items()}, how)


def _imagenet_by_name(rows: Sequence[LabelRow], folders: Sequence[str]) -> dict[str, int] | None:
    """{folder: class}, by the whole name or one of its synonyms; None when a folder is none of them."""
    known = meanings(rows)
    if not all(words(folder) in known for folder in folders):
        return None
    found: dict[str, int] = {}
    for folder in folders:
        classes = known[words(folder)]
        if len(classes) > 1:
            said = " and ".join(f"{index} ({rows[index].folder}: {rows[index].name})" for index in sorted(classes))
            raise InputError(
                f'the class folder "{folder}" could be the classes {said} of ImageNet; '
                f"name the folder by its WordNet id, or give a class list with {option('source-labels', 'FILE.csv')}"
            )
        found[folder] = next(iter(classes))
    return found


# --- numbers and order --------------------------------------------------------------------------------------


def _by_number(model_classes: Sequence[str], folders: Sequence[str]) -> ClassList | None:
    """Folders named 0, 1, 2, … (also 007) for a model whose classes have no names."""
    if not nameless(model_classes) or not all(folder.isascii() and folder.isdigit() for folder in folders):
        return None
    aliases = {folder: str(int(folder)) for folder in folders}
    beyond = [folder for folder, name in aliases.items() if int(name) >= len(model_classes)]
    if beyond:
        raise InputError(
            f"{_listed(beyond)}: the class folders are numbers, but the source model has the classes 0 to "
            f"{len(model_classes) - 1} only; is it the model of these images?"
        )
    how = "the class folders are numbers, read as the numbers of the model's classes"
    as_text = sorted(folders) != sorted(folders, key=int)
    if as_text:
        how += f"; a model trained on folders sorted as text (0, 1, 10, 11, …) needs {option('source-labels')} instead"
    return ClassList(list(model_classes), aliases, how, assumed=as_text)


def _by_order(names: Sequence[str], folders: Sequence[str]) -> ClassList | None:
    if not nameless(names) or len(folders) != len(names) or not folders:
        return None
    ordered = sorted(folders)
    how = (
        f"the source model's classes have no names; its {len(names)} classes are assumed to be the {len(names)} class "
        "folders in sorted order, as torchvision numbers them"
    )
    return ClassList(ordered, {folder: folder for folder in ordered}, how, assumed=True)


def _no_evidence(names: Sequence[str], folders: Sequence[str]) -> InputError:
    rows = imagenet_rows(len(names)) or []
    known = {*names, *(row.folder for row in rows)}
    strangers = [folder for folder in folders if folder not in known] or list(folders)
    if nameless(names):
        theirs, near = f"{len(names)} classes without names (0 to {len(names) - 1})", None
    else:
        theirs, near = f"{len(names)} classes such as {_listed(names)}", closest(strangers[0], names)
    advice = (
        f"say which class each folder is with {option('source-labels', 'FILE.csv')} (columns index, name, "
        f"folder; {len(names)} rows), in a recipe with labels: FILE.csv; leave out folders of other classes"
    )
    which = "is the folder" if len(strangers) == 1 else "are the folders"
    return InputError(
        Problem(
            "",
            f"which class of the source model {which} {_listed(strangers)}? The model has {theirs}",
            f'did you mean "{near}"? Otherwise {advice}' if near else advice,
        )
    )


def words(name: str) -> str:
    """A name without case, underscores, dashes and doubled spaces, as folders and lists differ in them."""
    return " ".join(comparable(name).lower().replace("_", " ").replace("-", " ").replace(",", " ").split())


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in names[:SHOWN])
    return listed + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
