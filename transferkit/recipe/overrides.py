"""Changes from the command line: `key=value`, `+list=item` to append, `~key` to remove; and presets.

`stages.target.epochs=3` and `stages.0.epochs=3` are the same; values follow the YAML rules of the recipe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from transferkit.errors import InputError, Problem
from transferkit.recipe import yaml
from transferkit.recipe.merge import find_item, merge, removes
from transferkit.recipe.places import PLACES
from transferkit.recipe.tree import Key, Mark, Node, dotted, item_label
from transferkit.words.doors import said
from transferkit.words.suggest import did_you_mean

PRESET_KEYS = ("preset", "presets")
LISTS = ("stages", *(place.key for place in PLACES if not place.single))
SHOWN = 200  # characters of an argument in messages about it
USAGE = "write key=value, +list=item to append, or ~key to remove"


def apply_overrides(root: Node, overrides: Iterable[str]) -> list[Problem]:
    """Change the tree in place, argument by argument; what cannot be applied is returned as problems."""
    problems: list[Problem] = []
    for text in overrides:
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
        mark = Mark(f"{said('command line', 'argument')}: {shown}", folder=Path.cwd())
        try:
            _apply(root, text, mark, problems)
        except InputError as error:
            problems += [replace(one, where=one.where or str(mark)) for one in error.problems]
    return problems


def _refused(message: str, hint: str | None = None) -> InputError:
    return InputError(Problem("", message, hint))


def _apply(root: Node, text: str, mark: Mark, problems: list[Problem]) -> None:
    sign = text[:1] if text[:1] in ("+", "~") else ""
    address, equals, value = text[len(sign) :].partition("=")
    address = re.sub(r"\[(\d+)\]", r".\1", address.strip()).lstrip(".")
    parts = address.split(".")
    if not all(parts) or bool(equals) == (sign == "~"):
        raise _refused("this is not an override", USAGE)
    node = Node(None, mark) if sign == "~" else yaml.parse(value, mark)
    parent, key = _parent(root, parts, None if sign == "~" else mark)
    old = parent.child(key)
    if sign == "~":
        if old is None:
            raise _refused(f"{address} is not in the recipe, so it cannot be removed", _known(parent, str(key)))
        del parent.value[key]
    elif sign == "+":
        if old is None or old.value is None:
            old = parent.value[key] = Node([], mark, mark)
        if not isinstance(old.value, list):
            raise _refused(f"{address} is not a list, so nothing can be appended", USAGE)
        old.value.append(node)
    else:
        node.key = mark
        if old is not None and removes(old, node):
            del parent.value[key]
            return
        new = node if old is None else merge(old, node, problems)
        if isinstance(parent.value, list) and old is not None:
            new.key = None
        parent.value[key] = new


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
        raise _refused(f"{address} is empty, so there is nothing to change", f"add an item with +{address}={{…}}")
    if create is None or isinstance(node.value, list):
        raise _refused(f"there is no {address} in the recipe", _known(node, key))
    return Node({}, create, create)


def _step(root: Node, node: Node, done: tuple[Key, ...], rest: list[str], create: Mark | None) -> tuple[Key, int]:
    """The next key and how many dotted parts it takes: names may contain dots, the longest one wins."""
    if isinstance(node.value, list):
        return _list_step(root, node, done, rest)
    if not isinstance(node.value, dict):
        raise _refused(f"{dotted(root, done)} is a single value, so it has no {rest[0]}")
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
            raise _refused(f'{dotted(root, done)} has several items called "{rest[0]}"', hint) from None
    if rest[0] in map(str, range(len(node.value))):
        return int(rest[0]), 1
    raise _refused(f'{dotted(root, done)} has no item "{rest[0]}"', _known(node, rest[0]))


def _known(node: Node, name: str) -> str | None:
    if isinstance(node.value, dict):
        return did_you_mean(name, node.value)
    if isinstance(node.value, list):
        return did_you_mean(name, [item_label(node.value, index) for index in range(len(node.value))])
    return None


# -- presets: named changes that come with a recipe -----------------------------------------------------------------


def apply_preset(root: Node, overrides: Iterable[str]) -> tuple[Node, list[str], list[Problem]]:
    """The tree with its preset merged in by the one merge rule, the other overrides, and what was wrong.

    `preset=NAME` on the command line wins over the file, and `presets.NAME.…` there changes a preset before it is laid
    over. Both keys are gone from the tree: what they say is in it.
    """
    overrides = list(overrides)
    keys = [text.lstrip("+~").partition("=")[0].partition(".")[0].strip() for text in overrides]
    mine = [text for text, key in zip(overrides, keys, strict=True) if key in PRESET_KEYS]
    problems = apply_overrides(root, mine)
    chosen, presets = root.value.pop("preset", None), root.value.pop("presets", None)
    rest = [text for text in overrides if text not in mine]
    known = {} if presets is None else presets.value
    mappings = isinstance(known, dict) and all(isinstance(node.value, dict) for node in known.values())
    if presets is not None and not mappings:
        message = "presets: a mapping of mappings is needed, NAME: {key: value}"
        return root, rest, [*problems, Problem(str(presets.mark), message)]
    if chosen is None or chosen.value is None:
        return root, rest, problems
    preset = known.get(str(chosen.value))
    if preset is None:
        hint = did_you_mean(str(chosen.value), known) if known else "this recipe has none"
        message = f'preset: there is no preset called "{chosen.value}"'
        return root, rest, [*problems, Problem(str(chosen.mark), message, hint)]
    for key in [key for key in (*PRESET_KEYS, "extends") if key in preset.value]:
        message = f"presets.{chosen.value}.{key}: a preset changes the recipe, and cannot choose what it is made of"
        problems.append(Problem(str(preset.value.pop(key).label), message))
    return (merge(root, preset, problems) if preset.value else root), rest, problems
