"""Changes from the command line: `key=value`, `+list=item` to append, `~key` to remove.

`stages.target.epochs=3` and `stages.0.epochs=3` are the same; values follow the YAML rules of the recipe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from transferkit.errors import InputError, Problem
from transferkit.recipe import yaml
from transferkit.recipe.merge import find_item, merge
from transferkit.recipe.tree import Key, Mark, Node, dotted, item_label
from transferkit.suggest import did_you_mean

LISTS = ("stages", "regularizers", "observers", "corruptions", "analyses")
SHOWN = 200  # characters of an argument in messages about it
USAGE = "write key=value, +list=item to append, or ~key to remove"


class _Refused(Exception):
    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def apply_overrides(root: Node, overrides: Iterable[str]) -> list[Problem]:
    """Change the tree in place, argument by argument; what cannot be applied is returned as problems."""
    problems: list[Problem] = []
    for text in overrides:
        mark = Mark(f"command line: {text if len(text) <= SHOWN else text[:SHOWN] + '…'}", folder=Path.cwd())
        try:
            _apply(root, text, mark, problems)
        except _Refused as refused:
            problems.append(Problem(str(mark), refused.message, refused.hint))
        except InputError as error:
            problems += error.problems
    return problems


def _apply(root: Node, text: str, mark: Mark, problems: list[Problem]) -> None:
    sign = text[:1] if text[:1] in ("+", "~") else ""
    address, equals, value = text[len(sign) :].partition("=")
    address = re.sub(r"\[(\d+)\]", r".\1", address.strip()).lstrip(".")
    parts = address.split(".")
    if not all(parts) or bool(equals) == (sign == "~"):
        raise _Refused("this is not an override", USAGE)
    if sign == "~":
        _remove(root, parts)
        return
    node = yaml.parse(value, mark)
    node.key = mark
    if sign == "+":
        _append(root, parts, node)
    else:
        _set(root, parts, node, problems)


def _set(root: Node, parts: list[str], node: Node, problems: list[Problem]) -> None:
    parent, key = _parent(root, parts, node.mark)
    old = parent.child(key)
    new = node if old is None else merge(old, node, problems)
    if isinstance(parent.value, list) and old is not None:
        new.key = None
    parent.value[key] = new


def _append(root: Node, parts: list[str], node: Node) -> None:
    parent, key = _parent(root, parts, node.mark)
    target = parent.child(key)
    if target is None or target.value is None:
        target = parent.value[key] = Node([], node.mark, node.mark)
    if not isinstance(target.value, list):
        raise _Refused(f"{'.'.join(parts)} is not a list, so nothing can be appended", USAGE)
    node.key = None
    target.value.append(node)


def _remove(root: Node, parts: list[str]) -> None:
    parent, key = _parent(root, parts, None)
    if parent.child(key) is None:
        raise _Refused(f"{'.'.join(parts)} is not in the recipe, so it cannot be removed", _known(parent, str(key)))
    del parent.value[key]


def _parent(root: Node, parts: list[str], create: Mark | None) -> tuple[Node, Key]:
    """The mapping or list that holds the addressed value, and its key there. Missing mappings are made."""
    node, rest = root, list(parts)
    done: tuple[Key, ...] = ()
    while True:
        key, used = _step(root, node, done, rest, create)
        if used == len(rest):
            return node, key
        child = node.child(key)
        if child is None or child.value is None:
            child = node.value[key] = _missing(root, node, (*done, key), create)
        node, done, rest = child, (*done, key), rest[used:]


def _missing(root: Node, node: Node, path: tuple[Key, ...], create: Mark | None) -> Node:
    """A new mapping for an address that goes through a key which the recipe does not have."""
    address, key = dotted(root, path), str(path[-1])
    if key in LISTS:
        raise _Refused(f"{address} is empty, so there is nothing to change", f"add an item with +{address}={{…}}")
    if create is None or isinstance(node.value, list):
        raise _Refused(f"there is no {address} in the recipe", _known(node, key))
    return Node({}, create, create)


def _step(root: Node, node: Node, done: tuple[Key, ...], rest: list[str], create: Mark | None) -> tuple[Key, int]:
    """The next key and how many dotted parts it takes: names may contain dots, the longest one wins."""
    if isinstance(node.value, list):
        return _list_step(root, node, done, rest)
    if not isinstance(node.value, dict):
        raise _Refused(f"{dotted(root, done)} is a single value, so it has no {rest[0]}")
    for used in range(len(rest), 0, -1):
        if ".".join(rest[:used]) in node.value:
            return ".".join(rest[:used]), used
    return rest[0], 1


def _list_step(root: Node, node: Node, done: tuple[Key, ...], rest: list[str]) -> tuple[Key, int]:
    for used in range(len(rest), 0, -1):
        try:
            return find_item(node.value, ".".join(rest[:used])), used
        except KeyError:
            continue
        except LookupError:
            hint = f"use the index: {dotted(root, done)}.0, .1, …, or give each a name"
            raise _Refused(f'{dotted(root, done)} has several items called "{rest[0]}"', hint) from None
    if rest[0] in map(str, range(len(node.value))):
        return int(rest[0]), 1
    raise _Refused(f'{dotted(root, done)} has no item "{rest[0]}"', _known(node, rest[0]))


def _known(node: Node, name: str) -> str | None:
    if isinstance(node.value, dict):
        return did_you_mean(name, node.value)
    if isinstance(node.value, list):
        return did_you_mean(name, [item_label(node.value, index) for index in range(len(node.value))])
    return None
