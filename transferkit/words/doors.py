"""How what a caller can give is written: as options of the command line, or as arguments in Python.

One check serves both doors, and its sentence says what can be typed at the one that the caller came through.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Door = Literal["command line", "Python"]
_door: ContextVar[Door | None] = ContextVar("door", default=None)


@contextmanager
def coming_from(door: Door) -> Iterator[None]:
    """Inside, sentences are for that door; nested, for the outer one. Also a decorator."""
    before = _door.set(_door.get() or door)
    try:
        yield
    finally:
        _door.reset(before)


def said(typed: str, python: str) -> str:
    """What the caller would write: on the command line, or in Python."""
    return python if _door.get() == "Python" else typed


def option(name: str, value: str | bool = "") -> str:
    """`--source-data DIR`, in Python `source_data="DIR"`; without a value `--source-data` and `source_data`."""
    argument, typed = name.replace("-", "_"), f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return said(typed, f"{argument}={value}")
    return said(f"{typed} {value}".rstrip(), f"{argument}={json.dumps(value)}" if value else argument)


def call(verb: str, place: object, *options: str) -> str:
    """`transferkit resume RUN --stage X`, in Python `transferkit.resume("RUN", stage="X")`."""
    arguments = [json.dumps(str(place), ensure_ascii=False), *options]
    return said(" ".join(["transferkit", verb, str(place), *options]), f"transferkit.{verb}({', '.join(arguments)})")


def shell(command: str) -> str:
    """A command that only a terminal takes."""
    return said(command, f"{command} (in a terminal)")
