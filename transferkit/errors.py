"""What can go wrong, each with its exit code. Errors are sentences that say what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from transferkit.words.suggest import did_you_mean

__all__ = [
    "FINDINGS",
    "InputError",
    "Interrupted",
    "NonFiniteError",
    "OutOfMemory",
    "Problem",
    "StorageError",
    "TransferkitError",
    "did_you_mean",
]

FINDINGS = 3
"""The exit code of a check that found what it was asked to look for: nothing went wrong, and nothing is raised."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where it stands, what it is, and what would help."""

    where: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.where}  " if self.where else ""
        return f"{place}{self.message}" + (f"\n    {self.hint}" if self.hint else "")


class TransferkitError(Exception):
    """The run failed for a reason we can name. Shown without a traceback."""

    exit_code = 1


class InputError(TransferkitError):
    """Wrong input: usage, recipe, data or weights. Carries every problem that was found."""

    exit_code = 2

    def __init__(self, problems: str | Problem | Iterable[Problem], summary: str | None = None) -> None:
        if isinstance(problems, str):
            problems = [Problem("", problems)]
        elif isinstance(problems, Problem):
            problems = [problems]
        self.problems = list(problems)
        self.summary = summary
        lines = [str(problem) for problem in self.problems]
        super().__init__("\n".join([*lines, summary] if summary else lines))


class StorageError(TransferkitError):
    """The disk did not take what was to be written: it is full, read-only or failing."""


class OutOfMemory(TransferkitError):
    """The memory of the machine or of its GPU did not suffice."""


class NonFiniteError(TransferkitError):
    """A loss or a gradient stopped being a number."""

    exit_code = 4


class Interrupted(TransferkitError):
    """A signal stopped the run after it saved what it had."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
