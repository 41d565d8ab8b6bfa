"""What pydantic found, as plain sentences with a suggestion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from transferkit.recipe.tree import Node, Steps
from transferkit.suggest import closest, did_you_mean

_NAME_RULE = "letters, digits, dots, dashes and underscores, beginning with a letter or a digit"
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


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _range(word: str, key: str) -> Callable[[Mapping[str, Any]], str]:
    def sentence(error: Mapping[str, Any]) -> str:
        return f"must be {word} {_number(error['ctx'][key])}, not {shown_value(error['input'])}"

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


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a section as recipes write them."""
    return [info.alias or name for name, info in model.model_fields.items()]


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as `Ema | None`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def unknown_key(name: str, model: type[BaseModel]) -> str | None:
    """A hint for a key that a section does not have: a near one, or the section below that has it."""
    match = closest(name, keys_of(model))
    if match:
        return f'did you mean "{match}"?'
    for owner, info in model.model_fields.items():
        below = section_of(info.annotation)
        if below is not None and closest(name, keys_of(below)) and name not in ("name", "use"):
            return f'"{closest(name, keys_of(below))}" belongs in {owner}'
    return did_you_mean(name, keys_of(model), limit=40)


def located(error: Mapping[str, Any], node: Node) -> tuple[Steps, bool]:
    """The path of an error inside `node`, and whether parts of it were cut off.

    pydantic puts the branches of a union into the path; those are no keys of the recipe.
    """
    path: list[str | int] = []
    here: Node | None = node
    for position, part in enumerate(error["loc"]):
        last = position == len(error["loc"]) - 1
        below = here.child(part) if here is not None else None
        if below is None and not (last and error["type"] == "missing"):
            continue
        if part == "[key]":
            continue
        path.append(part)
        here = below
    return tuple(path), len(path) < len(error["loc"])


def one_per_place(errors: Iterable[Mapping[str, Any]], node: Node) -> list[tuple[Steps, list[Mapping[str, Any]]]]:
    """Errors grouped by the value they are about, so that a union gives one message."""
    groups: dict[Steps, list[Mapping[str, Any]]] = {}
    for error in errors:
        path, cut = located(error, node)
        groups.setdefault(path, []).append({**error, "cut": cut})
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
