"""Which images belong together: by a pattern on their paths. No NumPy."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from transferkit.errors import InputError, Problem
from transferkit.words.formats import some
from transferkit.words.text import comparable


@dataclass(frozen=True)
class Rule:
    """A regular expression with one group: what that finds in a path is the name of what the image belongs to."""

    pattern: re.Pattern[str]

    def of(self, path: str) -> str | None:
        """The name for a path below the split, or below the table's root; None where the pattern is not found."""
        found = self.pattern.search(path)
        name = comparable(found[1] or "") if found is not None else ""
        return name or None


@functools.lru_cache(maxsize=32)
def rule_of(text: str) -> Rule:
    """Raises InputError for what is no regular expression with exactly one group."""
    hint = r"for example (patient\d+)_ or ^([^/]+/[^/]+)/"
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(Problem("", f'group: "{text}" is no regular expression: {error}', hint)) from None
    if pattern.groups != 1:
        what = f'group: "{text}" has {pattern.groups} groups in parentheses, and exactly one is needed'
        raise InputError(Problem("", what, hint))
    return Rule(pattern)


def groups_of(paths: Sequence[str], text: str) -> list[str]:
    """The name for every path. Raises InputError, with the first few, where the pattern is not found in all."""
    rule = rule_of(text)
    found = [rule.of(path) for path in paths]
    without = [path for path, name in zip(paths, found, strict=True) if name is None]
    if without:
        what = f"group: {text} is not found in {len(without):,} of {len(paths):,} paths, such as {some(without)}"
        raise InputError(Problem("", what, "an image that is alone needs a name, too: let the pattern match all"))
    return [name for name in found if name is not None]
