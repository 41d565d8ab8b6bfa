"""Rows and samples that are wrong: the first few are told, and all are counted."""

from __future__ import annotations

from transferkit.errors import InputError
from transferkit.words.text import printable

SHOWN = 4


class WrongRows:
    """Collects them; `noun` is what one is called."""

    def __init__(self, noun: str) -> None:
        self.noun, self.count = noun, 0
        self.first: list[str] = []

    def add(self, place: str, why: str) -> None:
        """One more, where it stands and what is wrong."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{place}: {printable(why)}")

    def refuse(self, files: str) -> None:
        """Raise InputError where there are any: one sentence."""
        if not self.count:
            return
        rest = [f"and {self.count - len(self.first)} more"] if self.count > len(self.first) else []
        are = f"{self.noun} is" if self.count == 1 else f"{self.noun}s are"
        raise InputError(f"{files}: {self.count:,} {are} wrong; {'; '.join([*self.first, *rest])}")
