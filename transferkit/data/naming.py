"""Which class of a list each class of a data set is: folders and names are two namespaces, and never one guess."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from transferkit.data.folders import LabelRow, class_names
from transferkit.errors import InputError, Problem
from transferkit.words.suggest import did_you_mean
from transferkit.words.text import comparable

LISTED = 8


def listed_names(own: Sequence[str], rows: Sequence[LabelRow], where: str, *, folders: bool) -> list[str | None]:
    """For each of a data set's own classes, its name in the class list; None for one that is not listed.

    What is the folder of a row is that row. With `folders`, the own classes are folders, so that is no guess;
    otherwise they may be names as well. Raises InputError for what is one row's folder and another row's name where it
    could be either, and for two own classes that are one row.
    """
    names = class_names(rows)
    by_folder = {row.folder: name for row, name in zip(rows, names, strict=True)}
    by_name = {comparable(name): name for name in names}
    found = []
    for one in map(comparable, own):
        folder, name = by_folder.get(one), by_name.get(one)
        if folder is not None and name is not None and folder != name and not folders:
            what = f'"{one}" is the folder of the class "{folder}" and the name of another class in the class list'
            raise InputError(Problem(where, what, "give the class list folders or names that do not overlap"))
        found.append(folder if folder is not None else name)
    refuse_two_as_one(own, found, where)
    return found


def places(
    own: Sequence[str], classes: Sequence[str], rows: Sequence[LabelRow], where: str, *, folders: bool
) -> list[str | None]:
    """For each of a data set's own classes, its entry in `classes`: by the class list of `rows`, or by its own name.

    None for a class that is not in the list. Raises InputError for two that are one, and as `listed_names` does.
    """
    known = {comparable(name): name for name in classes}
    listed = listed_names(own, rows, where, folders=folders)
    elsewhere = {comparable(name) for name in class_names(rows)}
    found: list[str | None] = []
    for one, name in zip(map(comparable, own), listed, strict=True):
        entry = None if name is None else known.get(comparable(name))
        if entry is None and (name is None or name == one or one not in elsewhere):
            entry = known.get(one)  # a folder called as a class of `classes`, and as no other row
        found.append(entry)
    refuse_two_as_one(own, found, where)
    return found


def placed(
    own: Sequence[str], classes: Sequence[str], rows: Sequence[LabelRow], where: str, *, folders: bool
) -> list[str]:
    """As `places`; raises InputError for classes that are not in the list."""
    found = places(own, classes, rows, where, folders=folders)
    return _all(own, found, [*(row.folder for row in rows), *classes], where)


def renamed(own: Sequence[str], aliases: Mapping[str, str], classes: Sequence[str], where: str) -> list[str]:
    """For each of a data set's own classes, its entry in `classes` as `aliases` says. Raises InputError likewise."""
    known = {comparable(name): name for name in classes}
    said = {comparable(name): entry for name, entry in aliases.items()}
    found = [known.get(comparable(said.get(one, one))) for one in map(comparable, own)]
    refuse_two_as_one(own, found, where)
    return _all(own, found, [*aliases, *classes], where)


def _all(own: Sequence[str], found: Sequence[str | None], known: Sequence[str], where: str) -> list[str]:
    unknown = [name for name, entry in zip(own, found, strict=True) if entry is None]
    problems = [
        Problem(where, f'the class "{name}" is not in the class list', did_you_mean(name, {*known}, limit=6))
        for name in unknown[:LISTED]
    ]
    more = len(unknown) - len(problems)
    if problems:
        raise InputError(problems, f"… and {more} more classes that are not in the list" if more else None)
    return [entry for entry in found if entry is not None]


def refuse_two_as_one(own: Sequence[str], found: Sequence[str | None], where: str) -> None:
    """Raise InputError when two of a data set's classes would be one."""
    first: dict[str, str] = {}
    for one, entry in zip(own, found, strict=True):
        if entry is not None and first.setdefault(entry, one) != one:
            what = f'"{first[entry]}" and "{one}" would both be the class "{entry}"'
            raise InputError(Problem(where, what, "merge them, or say which is which in the class list"))


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
        from transferkit.data.randomness import numpy_rng  # here: NumPy takes its time

        drawn = sorted(numpy_rng(0, "classes", wanted).permutation(len(classes))[:wanted].tolist())
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


def one_class(where: str, name: str, meant: str | None) -> Problem:
    """What is said of training images of a single class."""
    hint = f"did you mean {meant}?" if meant else "give images of two classes or more"
    return Problem(where, f'all training images are of one class, "{name}": there is nothing to tell apart', hint)


def unlike(names: Sequence[str], where: str) -> list[str]:
    """The names in the form in which they are compared. Raises InputError where two are the same in it."""
    found = [comparable(name) for name in names]
    first: dict[str, str] = {}
    for name, form in zip(names, found, strict=True):
        if form in first:
            both = f"{first[form]!a} and {name!a}" if first[form] != name else repr(name)
            raise InputError(Problem(where, f"two classes have the same name, {both}"))
        first[form] = name
    return found


def same_but_for_case(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in case alone."""
    first: dict[str, str] = {}
    return [(first[name.casefold()], name) for name in names if first.setdefault(name.casefold(), name) != name]
