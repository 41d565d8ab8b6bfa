"""What a value is and what an exception says, for people: no name of a Python class, and never nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "null"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    ((list, tuple), "a list"),
    (Mapping, "an object"),
)


def kind_of(value: Any) -> str:
    """What a value of a JSON or YAML file is: "null", "a number", "text", "a list", "an object"."""
    return next((name for kinds, name in NAMES if isinstance(value, kinds)), type_of(value))


def kind_named(kind: type) -> str:
    """The same of a Python type that a value must have."""
    return next(name for kinds, name in NAMES if issubclass(kind, kinds))


def type_of(value: Any) -> str:
    """What Python code handed over: "None", "a dict", "an Image"."""
    name = type(value).__name__
    if value is None:
        return "None"
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def reason(error: BaseException) -> str:
    """The first line of what an exception says; its kind where it says nothing: "AssertionError without a reason"."""
    text = str(error).strip()
    return text.splitlines()[0] if text else f"{type(error).__name__} without a reason"
