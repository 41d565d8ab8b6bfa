"""A recipe as it was written: values that remember where they stand, and what is wrong with them.

Errors, origins and relative paths all need to know which file (or which argument) gave a value, so the
recipe stays a tree of nodes until it is validated.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.errors import InputError, Problem
from transferkit.words.names import plain_name

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
    def position(self) -> tuple[bool, int, int]:
        """What comes later is larger; the command line comes last."""
        return self.on_command_line, self.line, self.column

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


# -- problems: all that is wrong is shown at once, in the order of the file --------------------------------------------


@dataclass
class Problems:
    """Problems of one recipe, each at a path of its tree."""

    root: Node
    main: str
    elsewhere: list[Problem] = field(default_factory=list)
    _found: dict[tuple[str, Steps, str], tuple[Mark, Problem]] = field(default_factory=dict)

    def add(
        self, path: Steps, message: str, hint: str | None = None, *, at_key: bool = False, node: Node | None = None
    ) -> None:
        """Something is wrong with the value at `path`, or with its key. A missing value stands where its owner does."""
        node = node or self.root.nearest(path)
        mark = node.label if at_key else node.mark
        text = f"{dotted(self.root, path)}: {message}" if path else message
        # a stage that completes the model of the recipe repeats its mistakes: one message is enough
        self._found.setdefault((str(mark), path[-1:], message), (mark, Problem(str(mark), text, hint)))

    def refused(self, path: Steps, error: InputError) -> None:
        """What another module says of the value at `path`."""
        for problem in error.problems:
            self.add(path, problem.message, problem.hint)

    def __bool__(self) -> bool:
        return bool(self._found or self.elsewhere)

    def raise_if_any(self) -> None:
        """Raise one InputError with all problems: the recipe first, then what it extends, then the command line."""
        if self:
            found = sorted(self._found.values(), key=lambda pair: self._position(pair[0]))
            raise refusal([*(problem for _, problem in found), *self.elsewhere])

    def _position(self, mark: Mark) -> tuple[bool, bool, str, int, int]:
        return mark.on_command_line, mark.source != self.main, mark.source, mark.line, mark.column


def refusal(problems: Sequence[Problem]) -> InputError:
    """The error that ends a recipe which was refused."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return InputError(problems, f"{count}; nothing was started.")
