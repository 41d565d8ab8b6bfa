"""A recipe as it was written: values that remember where they stand.

Errors, origins and relative paths all need to know which file (or which argument) gave a value, so the
recipe stays a tree of nodes until it is validated.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.names import plain_name

Key = str | int
Steps = tuple[Key, ...]


@dataclass(frozen=True)
class Mark:
    """Where a value stands: a file with line and column (from 1), or an argument of the command line."""

    source: str
    line: int = 0
    column: int = 0
    folder: Path = Path()

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source

    @property
    def on_command_line(self) -> bool:
        """Whether an override gave the value."""
        return not self.line


@dataclass
class Node:
    """A mapping of nodes, a list of nodes, or a scalar; with the marks of the value and of its key."""

    value: Any
    mark: Mark
    key: Mark | None = None

    @property
    def label(self) -> Mark:
        """Where the key stands, or the value when it has none."""
        return self.key or self.mark

    def plain(self) -> Any:
        """The data without marks."""
        if isinstance(self.value, dict):
            return {name: child.plain() for name, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, key: Key) -> Node | None:
        """The item of a mapping or a list, if it is there."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            item: Node = self.value[key]
            return item
        return None

    def text(self, key: Key) -> str | None:
        """The text of a child, or None when it is missing or is not text."""
        child = self.child(key)
        return child.value if child is not None and isinstance(child.value, str) else None

    def find(self, path: Steps) -> Node | None:
        """The node at a path."""
        node: Node | None = self
        for key in path:
            node = node.child(key) if node is not None else None
        return node

    def nearest(self, path: Steps) -> Node:
        """The node at a path, or the closest one above it."""
        node = self
        for key in path:
            child = node.child(key)
            if child is None:
                break
            node = child
        return node

    def walk(self, path: Steps = ()) -> Iterator[tuple[Steps, Node]]:
        """Every node below, with its path; the parent comes first."""
        yield path, self
        if isinstance(self.value, dict):
            for name, child in self.value.items():
                yield from child.walk((*path, name))
        elif isinstance(self.value, list):
            for index, child in enumerate(self.value):
                yield from child.walk((*path, index))


def item_name(item: Any) -> str | None:
    """The name that a list item can be addressed by: its `name`, else the plain name of its `use`."""
    get = item.text if isinstance(item, Node) else item.get if isinstance(item, dict) else lambda key: None
    name, use = get("name"), get("use")
    if name:
        return name if isinstance(name, str) else None
    return plain_name(use) if isinstance(use, str) else None


def item_label(items: list[Any], index: int) -> str:
    """How messages and overrides call a list item: by its name where that is unique, else by its index."""
    name = item_name(items[index])
    return name if name and [item_name(item) for item in items].count(name) == 1 else str(index)


def dotted(root: Node, path: Steps) -> str:
    """A path as messages and overrides write it: stages.target.regularizers.bss.k."""
    parts: list[str] = []
    node: Node | None = root
    for key in path:
        if isinstance(key, int) and node is not None and isinstance(node.value, list) and key < len(node.value):
            parts.append(item_label(node.value, key))
        else:
            parts.append(str(key))
        node = node.child(key) if node is not None else None
    return ".".join(parts)


def shown(path: Path) -> str:
    """A path for people: relative when it lies below the working directory, else as it was given."""
    try:
        return str(Path(os.path.abspath(path)).relative_to(Path.cwd()))
    except ValueError:
        return str(path)
