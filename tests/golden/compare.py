"""Whether a file of a report is the stored one: texts, order and layout exactly, numbers with fractions nearly."""

from __future__ import annotations

import csv
import io
import json
import math
import re

RELATIVE, ABSOLUTE = 1e-6, 1e-12
"""Sums of floats come out a little different on other machines; what should be zero is not quite zero."""
ROUNDING = 1e-10
"""What is off by more than this, and the other one rounded, is another format."""
FLOAT = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?|-?\d+e[+-]?\d+")


class Number(str):
    """A number as the file writes it."""


def differences(name: str, stored: str, found: str) -> tuple[list[str], list[str]]:
    """(what is different, numbers that are only nearly the same), each with its place in the file."""
    if stored == found:
        return [], []
    wrong: list[str] = []
    near: list[str] = []
    parsed = [_json(text) if name.endswith(".json") else _csv(text) for text in (stored, found)]
    _compare(*parsed, name, wrong, near)
    if not wrong and FLOAT.sub("#", stored) != FLOAT.sub("#", found):
        wrong.append(f"{name}: the same content is laid out differently")
    return wrong, near


def _json(text: str) -> object:
    return json.loads(text, parse_float=Number, parse_int=Number, object_pairs_hook=list)


def _csv(text: str) -> object:
    rows = csv.reader(io.StringIO(text, newline=""))
    return [[Number(cell) if FLOAT.fullmatch(cell) else cell for cell in row] for row in rows]


def _compare(stored: object, found: object, place: str, wrong: list[str], near: list[str]) -> None:
    if isinstance(stored, tuple) and isinstance(found, tuple) and stored[0] == found[0]:
        _compare(stored[1], found[1], f"{place}/{stored[0]}", wrong, near)
    elif isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        for index, (one, other) in enumerate(zip(stored, found, strict=True)):
            _compare(one, other, place if isinstance(one, tuple) else f"{place}/{index}", wrong, near)
    elif type(stored) is not type(found) or stored != found:
        nearly = isinstance(stored, Number) and isinstance(found, Number) and _close(stored, found)
        (near if nearly else wrong).append(f"{place}: {stored!r} was stored, {found!r} was found")


def _close(stored: Number, found: Number) -> bool:
    """Nearly the same and written alike: floats in Python's shortest form, neither of them the other one rounded."""
    one, other = float(stored), float(found)
    if not all(FLOAT.fullmatch(text) and repr(float(text)) == text for text in (stored, found)):
        return False
    rounded = abs(one - other) > ROUNDING and (one in _rounded(other) or other in _rounded(one))
    return not rounded and math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _rounded(value: float) -> list[float]:
    return [round(value, digits) for digits in range(9)]
