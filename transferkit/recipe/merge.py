"""`extends:` and the one merge rule: mappings merge, everything else replaces.

A mapping given where the base has a list of named items (stages, plugins) changes those items by name. An empty mapping
empties what it is laid over, and null in place of a section, a list or a named item removes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path

from transferkit.errors import InputError, Problem
from transferkit.recipe import yaml
from transferkit.recipe.tree import Node, item_label, item_name, shown
from transferkit.words.names import plain_name
from transferkit.words.suggest import did_you_mean

MAX_EXTENDS = 3


def read_extended(path: Path, chain: tuple[Path, ...] = ()) -> Node:
    """The tree of a recipe file with everything it extends merged in; `chain` are those that extend it.

    Raises InputError.
    """
    return extended(yaml.read(path), path, chain)


def extended(top: Node, path: Path, chain: tuple[Path, ...] = ()) -> Node:
    """The same for a tree that is there; what it extends is relative to where `path` lies. Raises InputError."""
    extends = top.value.pop("extends", None)
    if extends is None:
        return top
    entries = extends.value if isinstance(extends.value, list) else [extends]
    for entry in entries:
        if not isinstance(entry.value, str):
            raise InputError(Problem(str(entry.mark), "extends: a file name is needed, or a list of file names"))
    problems: list[Problem] = []
    parents = [_parent(path, entry, (*chain, path)) for entry in entries]
    changes = [top] if top.value else []  # a file that only extends changes nothing
    merged = reduce(lambda base, over: merge(base, over, problems), [*parents, *changes])
    if problems:
        raise InputError(problems)
    return merged


def with_extended(path: Path) -> list[Path]:
    """A recipe that can be read, and every file that it extends."""
    extends = yaml.read(path).value.get("extends")
    entries = [] if extends is None else extends.value if isinstance(extends.value, list) else [extends]
    parents = [(path.parent / str(entry.value)).resolve() for entry in entries]
    return list(dict.fromkeys([path, *(file for parent in parents for file in with_extended(parent))]))


def merge(base: Node, top: Node, problems: list[Problem]) -> Node:
    """`top` over `base`. Names that the base does not have are added to `problems`."""
    if not isinstance(top.value, dict):
        return top
    if not top.value and isinstance(base.value, dict | list):
        return replace(top, value=type(base.value)())
    if isinstance(base.value, list) and all(item_name(item) is not None for item in base.value):
        items = list(base.value)
        for name, node in top.value.items():
            index = _index_of(base.value, name, node, problems)
            if index is not None:
                items[index] = merge(items[index], node, problems)
        return Node([item for item in items if item.value is not None], base.mark, top.key)
    if not isinstance(base.value, dict) or _is_another_thing(base, top):
        return top
    merged = dict(base.value)
    for name, node in top.value.items():
        if name in merged and removes(merged[name], node):
            del merged[name]
        else:
            merged[name] = merge(merged[name], node, problems) if name in merged else node
    return Node(merged, top.mark, top.key)


def removes(base: Node, top: Node) -> bool:
    """Whether `top` is a null that takes a section or a list away; over a single value it is a value."""
    return top.value is None and isinstance(base.value, dict | list)


def find_item(items: list[Node], name: str) -> int:
    """The index of the list item with that `name` or `use`. Raises KeyError, or LookupError when two have it."""
    ways: list[Callable[[Node], str | None]] = [
        lambda item: item.text("name"),
        _nameless_use,
        lambda item: item.text("use"),
        _plain_use,
    ]
    for known in ways:
        found = [index for index, item in enumerate(items) if known(item) == name]
        if len(found) > 1:
            raise LookupError(name)
        if found:
            return found[0]
    raise KeyError(name)


def _nameless_use(item: Node) -> str | None:
    """What it is called without a name of its own."""
    return None if item.text("name") else item.text("use")


def _plain_use(item: Node) -> str | None:
    return plain_name(use) if (use := item.text("use")) is not None else None


def _is_another_thing(base: Node, top: Node) -> bool:
    """A plugin of another name shares no options with the old one; nor does a schedule with a set of terms."""
    if top.text("use") and top.text("use") != base.text("use"):
        return True
    return ("from" in top.value and "to" in top.value) != ("from" in base.value and "to" in base.value)


def _index_of(items: list[Node], name: str, node: Node, problems: list[Problem]) -> int | None:
    labels = [item_label(items, index) for index in range(len(items))]
    try:
        return labels.index(name) if name in labels else find_item(items, name)
    except KeyError:
        message, hint = f'there is no "{name}" in the list that this changes', did_you_mean(name, labels)
    except LookupError:
        message, hint = f'several items are called "{name}"', "give each a name: of its own"
    problems.append(Problem(str(node.label), message, hint))
    return None


def _parent(path: Path, entry: Node, chain: tuple[Path, ...]) -> Node:
    target = path.parent / os.path.expanduser(entry.value)
    seen = [os.path.realpath(known) for known in chain]
    if os.path.realpath(target) in seen:
        names = " -> ".join(shown(link) for link in (*chain[seen.index(os.path.realpath(target)) :], target))
        raise InputError(Problem(str(entry.mark), f"extends goes round in a circle: {names}"))
    if len(chain) > MAX_EXTENDS:
        names = " -> ".join(shown(link) for link in (*chain, target))
        raise InputError(Problem(str(entry.mark), f"extends is more than {MAX_EXTENDS} deep: {names}"))
    if not os.path.isfile(target):
        raise InputError(Problem(str(entry.mark), f'extends: there is no file "{shown(target)}"', _near(target)))
    return read_extended(target, chain)


def _near(target: Path) -> str | None:
    if not os.path.isdir(target.parent):
        return f"there is no folder {shown(target.parent)} either"
    return did_you_mean(target.name, [file.name for file in target.parent.glob("*.y*ml")])
