"""Collects everything that is wrong with a recipe, to be shown at once and in the order of the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from transferkit.errors import InputError, Problem
from transferkit.recipe.tree import Mark, Node, Steps, dotted


@dataclass
class Findings:
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

    def __bool__(self) -> bool:
        return bool(self._found or self.elsewhere)

    def problems(self) -> list[Problem]:
        """Everything found: the recipe first, then what it extends, then the command line."""
        found = sorted(self._found.values(), key=lambda pair: self._position(pair[0]))
        return [problem for _, problem in found] + self.elsewhere

    def raise_if_any(self) -> None:
        """Raise one InputError with all problems."""
        if self:
            raise refusal(self.problems())

    def _position(self, mark: Mark) -> tuple[bool, bool, str, int, int]:
        return mark.on_command_line, mark.source != self.main, mark.source, mark.line, mark.column


def refusal(problems: Iterable[Problem]) -> InputError:
    """The error that ends a recipe which was refused."""
    problems = list(problems)
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return InputError(problems, f"{count}; nothing was started.")
