"""Validates one section of a recipe so that one mistake neither hides nor causes another message.

A wrong value is reported and then left out (a misspelt key is moved to where it was meant), and the rest is
validated again: later checks see as much of the section as can be known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from transferkit.recipe.findings import Findings
from transferkit.recipe.sentences import hint, joined, keys_of, one_per_place, section_of, unknown_key
from transferkit.recipe.tree import Node, Steps
from transferkit.suggest import closest

S = TypeVar("S", bound=BaseModel)
MAX_ROUNDS = 8


def validate(model: type[S], node: Node, path: Steps, findings: Findings, without: tuple[str, ...] = ()) -> S | None:
    """The section at `path`, without some of its keys; None when too much is wrong to build it."""
    if not isinstance(node.value, dict):
        findings.add(path, *not_a_mapping(node.value))
        return None
    kept = {key: child for key, child in node.value.items() if key not in without}
    draft = _copy(Node(kept, node.mark, node.key))
    removed: set[Steps] = set()
    for _ in range(MAX_ROUNDS):
        try:
            return model.model_validate(draft.plain())
        except ValidationError as error:
            groups = one_per_place(error.errors(include_url=False), draft)
        progress = False
        for below, errors in groups:
            if below not in removed:
                progress |= _report_and_repair(model, draft, path, below, errors, findings, removed)
                removed.add(below)
        if not progress:
            return None
    return None


def not_a_mapping(value: Any, example: str = "key: value") -> tuple[str, str | None]:
    """Message and hint for a section that is not a mapping."""
    if value is None:
        return f"is empty; a mapping ({example}) is needed", None
    shown = f'"{value}"' if isinstance(value, str) else "a list" if isinstance(value, list) else str(value)
    return f"a mapping ({example}) is needed, not {shown}", None


def model_at(model: type[BaseModel], path: Steps) -> type[BaseModel] | None:
    """The section model that a path inside a section leads to."""
    here: type[BaseModel] | None = model
    for key in path:
        if isinstance(key, int) or here is None:
            continue
        fields = {info.alias or name: info for name, info in here.model_fields.items()}
        here = section_of(fields[key].annotation) if key in fields else None
    return here


def _report_and_repair(
    model: type[BaseModel],
    draft: Node,
    path: Steps,
    below: Steps,
    errors: list[Mapping[str, Any]],
    findings: Findings,
    removed: set[Steps],
) -> bool:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        owner = model_at(model, below[:-1]) or model
        text = unknown_key(str(below[-1]), owner)
        findings.add((*path, *below), "there is no such key", text, at_key=True, node=draft.find(below))
        return _move(draft, below, keys_of(owner))
    if first["type"] == "missing":
        findings.add((*path, *below), "is missing", at_key=True, node=draft.nearest(below[:-1]))
        return False
    if first["type"] == "value_error" and not first["cut"] and _is_section(draft, below):
        message = str(first["ctx"]["error"])
        missed = any(_names(message, gone[-1]) for gone in removed if gone[:-1] == below and gone)
        return not missed and _contradiction(draft, path, below, message, findings)
    help_text = hint(first) or described(model, below, first)
    findings.add((*path, *below), joined(errors), help_text, node=draft.find(below))
    return _drop(draft, below)


def described(model: type[BaseModel], below: Steps, error: Mapping[str, Any]) -> str | None:
    """What a key is for, where a value of the wrong type shows that it was not known."""
    owner = model_at(model, below[:-1])
    if owner is None or not below or not str(error["type"]).endswith(("_type", "_parsing", "_from_float")):
        return None
    fields = {info.alias or name: info for name, info in owner.model_fields.items()}
    info = fields.get(str(below[-1]))
    if info is None:
        return None
    if error["input"] is None and not info.is_required():
        return "leave the key out for its default"
    return f"{below[-1]}: {info.description}" if info.description else None


def _contradiction(draft: Node, path: Steps, below: Steps, message: str, findings: Findings) -> bool:
    """Keys that exclude each other: shown at the one given last, which is then left out."""
    section = draft.nearest(below)
    named = [key for key in section.value if _names(message, key) and section.value[key].value]
    if not named:
        findings.add((*path, *below), message, node=section, at_key=True)
        return False
    last = max(named, key=lambda key: _position(section.value[key]))
    findings.add((*path, *below), message, node=section.value[last], at_key=True)
    return _drop(draft, (*below, last))


def _names(message: str, key: str | int) -> bool:
    return re.search(rf"\b{re.escape(str(key))}\b", message) is not None


def _position(node: Node) -> tuple[bool, int, int]:
    return node.label.on_command_line, node.label.line, node.label.column


def _is_section(draft: Node, below: Steps) -> bool:
    node = draft.find(below)
    return node is not None and isinstance(node.value, dict)


def _move(draft: Node, below: Steps, known: list[str]) -> bool:
    owner = draft.nearest(below[:-1])
    node = owner.value.pop(below[-1])
    match = closest(str(below[-1]), known)
    if match and match not in owner.value:
        owner.value[match] = node
    return True


def _drop(draft: Node, below: Steps) -> bool:
    if not below:
        return False
    owner = draft.nearest(below[:-1])
    if isinstance(owner.value, list):
        return _drop(draft, below[:-1])
    return isinstance(owner.value, dict) and owner.value.pop(below[-1], None) is not None


def _copy(node: Node) -> Node:
    value = node.value
    if isinstance(value, dict):
        value = {key: _copy(child) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_copy(child) for child in value]
    return Node(value, node.mark, node.key)
