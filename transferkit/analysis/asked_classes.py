"""Which of a head's classes a person means: by its own name, ImageNet's names, WordNet id, or number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transferkit.analysis.class_mapping import are_imagenet, imagenet_rows, meanings, nameless, unique, words
from transferkit.data.folders import class_names
from transferkit.errors import InputError, Problem
from transferkit.words.formats import first_name, listing
from transferkit.words.suggest import did_you_mean
from transferkit.words.text import comparable

IMAGENET = 1000  # classes


@dataclass(frozen=True)
class AskedClasses:
    """The classes of a head as people may call them."""

    names: list[str]
    """(K,) unique names to be shown, in the order of the head's outputs."""
    own: dict[str, int]
    """{exact name: class}."""
    called: dict[str, set[int]]
    """{in the form of `words`: classes}, synonyms and ids included."""

    def find(self, asked: str) -> int | None:
        """The class that is meant, or None. Raises InputError for a name of several classes."""
        exact = self.own.get(comparable(asked))
        if exact is not None:
            return exact
        found = sorted(self.called.get(words(asked), ()))
        if len(found) > 1:
            either = " or ".join(f'{index} ("{self.names[index]}")' for index in found)
            raise InputError(Problem(f"--class {asked}", f"this could be {either}", "give the number of the class"))
        return found[0] if found else None

    def suggest(self, asked: str) -> str | None:
        """What may have been meant."""
        return did_you_mean(asked, {first_name(name) for name in self.names}, limit=8)


def asked_classes(classes: Sequence[str]) -> AskedClasses:
    """The names of a head's classes: its own, and ImageNet's where it has those classes without names, or with them.

    Numbers are understood where no class is called by one.
    """
    rows = imagenet_rows(len(classes))
    if rows is not None and not (nameless(classes) or are_imagenet(classes, rows)):
        rows = None
    names = class_names(rows) if rows is not None and nameless(classes) else unique(classes)
    own = {str(index): index for index in range(len(names))}
    own |= {comparable(name): index for index, name in enumerate(names)}
    called = meanings(rows) if rows is not None else {}
    for index, name in enumerate(names):
        called.setdefault(words(name), set()).add(index)
    return AskedClasses(names, own, called)


def choose_classes(
    asked: Sequence[str], heads: dict[str, AskedClasses], absent: dict[str, AskedClasses]
) -> dict[str, list[int]]:
    """{role: its asked classes, each once}: a class that several heads have is asked of all of them.

    `absent` are heads that were not asked for, which only help to say what went wrong. Raises InputError with every
    name that no head has.
    """
    found: dict[str, list[int]] = {role: [] for role in heads}
    problems = []
    for name in asked:
        known = {role: index for role, head in heads.items() if (index := head.find(name)) is not None}
        for role, index in known.items():
            if index not in found[role]:
                found[role].append(index)
        if not known:
            problems.append(_unknown(name, heads, absent))
    if problems:
        raise InputError(problems)
    return found


def _unknown(name: str, heads: dict[str, AskedClasses], absent: dict[str, AskedClasses]) -> Problem:
    whose = listing([f"the {role} head" for role in heads])
    elsewhere = next((role for role, head in absent.items() if head.find(name) is not None), None)
    if elsewhere is not None:
        hint: str | None = f"it is one of the {elsewhere} head: add --role {elsewhere}, or --role both"
    else:
        hints = [f"{role} head: {text}" for role, head in heads.items() if (text := head.suggest(name))]
        hint = "\n    ".join(hints) if len(heads) > 1 else hints[0].partition(": ")[2] if hints else None
    return Problem(f"--class {name}", f"no class of {whose}", hint)


def classes_called(asked: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Which of a data set's classes are meant, each once: by its own names, or what ImageNet calls its WordNet ids.

    Raises InputError with every name that is none of them.
    """
    own, by_id = asked_classes(classes), {comparable(name): index for index, name in enumerate(classes)}
    rows = imagenet_rows(IMAGENET) or []
    there = {row.index: by_id[comparable(row.folder)] for row in rows if comparable(row.folder) in by_id}
    imagenet = meanings(rows) if there else {}
    found: list[int] = []
    problems = []
    for name in asked:
        index = own.find(name)
        known = {index} if index is not None else {there[one] for one in imagenet.get(words(name), ()) if one in there}
        if len(known) == 1:
            found += known - set(found)
        else:
            several = (
                f"it could be {listing([classes[one] for one in sorted(known)])}" if known else "it is none of them"
            )
            problems.append(Problem(f"classes: {name}", several, did_you_mean(name, classes)))
    if problems:
        raise InputError(problems)
    return found
