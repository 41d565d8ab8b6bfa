"""`extends:` and the one merge rule: mappings merge, everything else replaces.

A mapping given where the base has a list of named items (stages, plugins) changes those items by name.
"""

from __future__ import annotations

import os
from pathlib import Path

from transferkit.errors import InputError, Problem
from transferkit.names import plain_name
from transferkit.recipe import yaml
from transferkit.recipe.tree import Node, item_label, item_name, shown
from transferkit.suggest import did_you_mean

MAX_EXTENDS = 3


def read_extended(path: Path) -> Node:
    """The tree of a recipe file with everything it extends merged in. Raises InputError."""
    return _read(path, ())


def merge(base: Node, top: Node, problems: list[Problem]) -> Node:
    """`top` over `base`. Names that the base does not have are added to `problems`."""
    if not isinstance(top.value, dict):
        return top
    if isinstance(base.value, list) and _named_items(base):
        return Node(_merge_items(base.value, top, problems), base.mark, top.key)
    if not isinstance(base.value, dict) or _is_another_thing(base, top):
        return top
    merged = dict(base.value)
    for name, node in top.value.items():
        merged[name] = merge(merged[name], node, problems) if name in merged else node
    return Node(merged, top.mark, top.key)


def find_item(items: list[Node], name: str) -> int:
    """The index of the list item with that `name` or `use`. Raises KeyError, or LookupError when two have it."""
    for known in (lambda item: item.text("name"), lambda item: item.text("use"), _plain_use):
        found = [index for index, item in enumerate(items) if known(item) == name]
        if len(found) > 1:
            raise LookupError(name)
        if found:
            return found[0]
    raise KeyError(name)


def _plain_use(item: Node) -> str | None:
    return plain_name(use) if (use := item.text("use")) is not None else None


def _named_items(node: Node) -> bool:
    return all(item_name(item) is not None for item in node.value)


def _is_another_thing(base: Node, top: Node) -> bool:
    """A plugin of another name shares no options with the old one; nor does a schedule with a set of terms."""
    if top.text("use") and top.text("use") != base.text("use"):
        return True
    return ("from" in top.value and "to" in top.value) != ("from" in base.value and "to" in base.value)


def _merge_items(items: list[Node], top: Node, problems: list[Problem]) -> list[Node]:
    merged = list(items)
    for name, node in top.value.items():
        index = _index_of(items, name, node, problems)
        if index is not None:
            merged[index] = merge(items[index], node, problems)
    return merged


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


def _read(path: Path, chain: tuple[Path, ...]) -> Node:
    top = yaml.read(path)
    extends = top.value.pop("extends", None)
    if extends is None:
        return top
    problems: list[Problem] = []
    base: Node | None = None
    for entry in _entries(extends):
        parent = _parent(path, entry, (*chain, path))
        base = parent if base is None else merge(base, parent, problems)
    merged = top if base is None else merge(base, top, problems)
    if problems:
        raise InputError(problems)
    return merged


def _entries(extends: Node) -> list[Node]:
    entries = extends.value if isinstance(extends.value, list) else [extends]
    for entry in entries:
        if not isinstance(entry.value, str):
            raise InputError(Problem(str(entry.mark), "extends: a file name is needed, or a list of file names"))
    return list(entries)


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
    return _read(target, chain)


def _near(target: Path) -> str | None:
    if not os.path.isdir(target.parent):
        return f"there is no folder {shown(target.parent)} either"
    return did_you_mean(target.name, [file.name for file in target.parent.glob("*.y*ml")])
