"""Validates one section of a recipe so that one mistake neither hides nor causes another message.

A wrong value is reported, in a plain sentence with a suggestion, and then left out (a misspelt key is moved to where it
was meant), and the rest is validated again: later checks see as much of the section as can be known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from transferkit.recipe.tree import Node, Problems, Steps, dotted
from transferkit.words.suggest import closest, did_you_mean

S = TypeVar("S", bound=BaseModel)
MAX_ROUNDS = 8
_NAME_RULE = "letters, digits, dots, dashes and underscores, beginning with a letter or a digit"
MOVED = {"prune": ("regularizers", "prune is a plugin now: regularizers: [{use: prune, amount: …}]")}
"""{what was a key: the key where it is now, and how to say it}"""
_NEEDED = {
    "int": "a whole number is needed",
    "float": "a number is needed",
    "bool": "true or false is needed",
    "string": "text is needed",
    "path": "a path is needed",
    "list": "a list is needed",
    "tuple": "a list is needed",
    "set": "a list is needed",
    "frozen_set": "a list is needed",
    "dict": "a mapping (key: value) is needed",
    "mapping": "a mapping (key: value) is needed",
    "model": "a mapping (key: value) is needed",
    "dataclass": "a mapping (key: value) is needed",
}


def validate(model: type[S], node: Node, path: Steps, problems: Problems, without: tuple[str, ...] = ()) -> S | None:
    """The section at `path`, without some of its keys; None when too much is wrong to build it."""
    if not isinstance(node.value, dict):
        problems.add(path, *not_a_mapping(node.value))
        return None
    kept = {key: child for key, child in node.value.items() if key not in without}
    draft = _copy(Node(kept, node.mark, node.key))
    apart = {"apart": [key for key in without if key in node.value]}
    removed: set[Steps] = set()
    for _ in range(MAX_ROUNDS):
        try:
            return model.model_validate(draft.plain(), context=apart)
        except ValidationError as error:
            groups = one_per_place(error.errors(include_url=False), draft)
        progress = False
        for below, errors in groups:
            if below not in removed:
                progress |= _report_and_repair(model, draft, path, below, errors, problems, removed)
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
        if isinstance(key, str) and here is not None:
            info = fields_of(here).get(key)
            here = section_of(info.annotation) if info is not None else None
    return here


def _report_and_repair(
    model: type[BaseModel],
    draft: Node,
    path: Steps,
    below: Steps,
    errors: list[Mapping[str, Any]],
    problems: Problems,
    removed: set[Steps],
) -> bool:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        owner = model_at(model, below[:-1]) or model
        text = unknown_key(str(below[-1]), owner, dotted(problems.root, (*path, *below[:-1])))
        problems.add((*path, *below), "there is no such key", text, at_key=True, node=draft.find(below))
        holder = draft.nearest(below[:-1]).value
        node, match = holder.pop(below[-1]), closest(str(below[-1]), keys_of(owner))
        if match and match not in holder:
            holder[match] = node
        return True
    if first["type"] == "missing":
        problems.add((*path, *below), "is missing", at_key=True, node=draft.nearest(below[:-1]))
        return False
    section = draft.find(below)
    if first["type"] == "value_error" and not first["cut"] and section is not None and isinstance(section.value, dict):
        message = str(first["ctx"]["error"])
        missed = any(_names(message, gone[-1]) for gone in removed if gone[:-1] == below and gone)
        return not missed and _contradiction(draft, section, path, below, message, problems)
    help_text = hint(first) or described(model, below, first)
    problems.add((*path, *below), joined(errors), help_text, node=section)
    return _drop(draft, below)


def described(model: type[BaseModel], below: Steps, error: Mapping[str, Any]) -> str | None:
    """What a key is for, where a value of the wrong type shows that it was not known."""
    owner = model_at(model, below[:-1])
    info = fields_of(owner).get(str(below[-1])) if owner is not None and below else None
    if info is None or not str(error["type"]).endswith(("_type", "_parsing", "_from_float")):
        return None
    if error["input"] is None and not info.is_required():
        return "leave the key out for its default"
    return f"{below[-1]}: {info.description}" if info.description else None


def _contradiction(draft: Node, section: Node, path: Steps, below: Steps, message: str, problems: Problems) -> bool:
    """Keys that exclude each other: shown at the one given last, which is then left out."""
    named = [key for key in section.value if _names(message, key) and section.value[key].value]
    if not named:
        problems.add((*path, *below), message, node=section, at_key=True)
        return False
    last = max(named, key=lambda key: section.value[key].label.position)
    problems.add((*path, *below), message, node=section.value[last], at_key=True)
    return _drop(draft, (*below, last))


def _names(message: str, key: str | int) -> bool:
    return re.search(rf"\b{re.escape(str(key))}\b", message) is not None


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


# -- what pydantic found, as sentences -----------------------------------------------------------------------------


def shown_value(value: Any) -> str:
    """A value as the reader of a message knows it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}…"'
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return str(value)


def _range(word: str, key: str) -> Callable[[Mapping[str, Any]], str]:
    def sentence(error: Mapping[str, Any]) -> str:
        limit = error["ctx"][key]
        number = f"{limit:g}" if isinstance(limit, float) else str(limit)
        return f"must be {word} {number}, not {shown_value(error['input'])}"

    return sentence


def _literal(error: Mapping[str, Any]) -> str:
    return f"must be {str(error['ctx']['expected']).replace(chr(39), '')}, not {shown_value(error['input'])}"


def _length(error: Mapping[str, Any]) -> str:
    context = error["ctx"]
    word, count = ("at least", context["min_length"]) if "min_length" in context else ("at most", context["max_length"])
    return f"needs {word} {count} {'item' if count == 1 else 'items'}, and has {context.get('actual_length', 'others')}"


_SENTENCES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda error: "is missing",
    "greater_than": _range("greater than", "gt"),
    "greater_than_equal": _range("at least", "ge"),
    "less_than": _range("less than", "lt"),
    "less_than_equal": _range("at most", "le"),
    "multiple_of": _range("a multiple of", "multiple_of"),
    "finite_number": lambda error: f"must be a finite number, not {shown_value(error['input'])}",
    "literal_error": _literal,
    "enum": _literal,
    "too_short": _length,
    "too_long": _length,
    "string_pattern_mismatch": lambda error: f"{shown_value(error['input'])} is not a name: use {_NAME_RULE}",
    "string_too_long": lambda error: f"must be at most {error['ctx']['max_length']} characters long",
    "string_too_short": lambda error: f"must be at least {error['ctx']['min_length']} characters long",
    "value_error": lambda error: str(error["ctx"]["error"]),
    "assertion_error": lambda error: str(error["ctx"]["error"]),
}


def sentence(error: Mapping[str, Any]) -> str:
    """One error of `ValidationError.errors()` as a sentence without the path."""
    kind = str(error["type"])
    if kind in _SENTENCES:
        return _SENTENCES[kind](error)
    for prefix, needed in _NEEDED.items():
        if kind in (f"{prefix}_type", f"{prefix}_parsing", f"{prefix}_from_float", f"{prefix}_attributes_type"):
            return f"{needed}, not {shown_value(error['input'])}"
    message = str(error["msg"])
    return f"{message[:1].lower()}{message[1:]}, not {shown_value(error['input'])}"


def hint(error: Mapping[str, Any]) -> str | None:
    """What would help with that error, if anything does."""
    kind, value = str(error["type"]), error.get("input")
    if kind == "literal_error" and isinstance(value, str):
        expected = str(error["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
        match = closest(value, expected)
        return f'did you mean "{match}"?' if match else None
    if kind == "string_type" and isinstance(value, int | float):
        return "put it in quotes"
    if kind.startswith("bool") and str(value).lower() in ("yes", "on", "y", "1", "no", "off", "n", "0"):
        return f"write {'true' if str(value).lower() in ('yes', 'on', 'y', '1') else 'false'}"
    return None


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """{key as recipes write it: field} of a section."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a section as recipes write them."""
    return list(fields_of(model))


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as `Ema | None`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def unknown_key(name: str, model: type[BaseModel], here: str = "") -> str | None:
    """A hint for a key that the section at `here` does not have: a near one, or the section below that has it."""
    if name in MOVED and MOVED[name][0] in keys_of(model):
        return MOVED[name][1]
    if match := closest(name, keys_of(model)):
        return f'did you mean "{match}"?'
    for owner, info in model.model_fields.items():
        below = section_of(info.annotation)
        match = None if below is None or name in ("name", "use") else closest(name, keys_of(below))
        if match:
            item = ".NAME" if get_origin(info.annotation) is list else ""
            return f"it belongs in {owner}: {here and here + '.'}{owner}{item}.{match}"
    return did_you_mean(name, keys_of(model), limit=40)


def one_per_place(errors: Iterable[Mapping[str, Any]], node: Node) -> list[tuple[Steps, list[Mapping[str, Any]]]]:
    """Errors grouped by the value in `node` that they are about, so that a union gives one message.

    pydantic puts the branches of a union into the path; those are no keys of the recipe. Each error gains `cut`:
    whether its path lost such parts.
    """
    groups: dict[Steps, list[Mapping[str, Any]]] = {}
    for error in errors:
        path: Steps = ()
        here: Node | None = node
        for position, part in enumerate(error["loc"]):
            below = here.child(part) if here is not None else None
            absent = error["type"] == "missing" and position == len(error["loc"]) - 1
            if part != "[key]" and (below is not None or absent):
                path, here = (*path, part), below
        groups.setdefault(path, []).append({**error, "cut": len(path) < len(error["loc"])})
    return list(groups.items())


def joined(errors: list[Mapping[str, Any]]) -> str:
    """One sentence for all branches of a union."""
    sentences = list(dict.fromkeys(sentence(error) for error in errors))
    if len(sentences) == 1:
        return sentences[0]
    value = errors[0].get("input")
    for ending in (f" is needed, not {shown_value(value)}", f", not {shown_value(value)}"):
        if all(text.endswith(ending) for text in sentences):
            return " or ".join(text.removesuffix(ending) for text in sentences) + ending
    return "; or: ".join(sentences)
