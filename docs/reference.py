"""Tables of every key that a recipe may have, from the schema itself. Run it to read them as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from transferkit.recipe import schema

MARKER = "<!-- reference -->"
TOP = "The top of a recipe"
LIMITS = {
    "minimum": "≥",
    "ge": "≥",
    "exclusiveMinimum": ">",
    "gt": ">",
    "maximum": "≤",
    "le": "≤",
    "exclusiveMaximum": "<",
    "lt": "<",
}
WORDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true/false",
    "object": "mapping",
    "array": "list",
    "null": "null",
}


def sections() -> dict[type[BaseModel], list[str]]:
    """{section: its places in a recipe}, in the order of the schema."""
    found: dict[type[BaseModel], list[str]] = {}
    for place, section in _walk("", schema.Recipe):
        found.setdefault(section, []).append(place)
    return found


def tables() -> str:
    """One heading and one table per section, as Markdown."""
    return "\n\n".join(_table(section, places) for section, places in sections().items())


def _walk(place: str, section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield place, section
    for name, info in section.model_fields.items():
        key = f"{place}.{info.alias or name}".lstrip(".")
        for inner, suffix in inner_sections(info.annotation):
            yield from _walk(key + suffix, inner)


def inner_sections(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The sections in an annotation, with what follows the key in their place: NAME in mappings, [] in lists."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
        return
    suffix = {list: "[]", dict: ".NAME"}.get(get_origin(annotation) or object, "")
    for part in get_args(annotation):
        for section, more in inner_sections(part):
            yield section, suffix + more


def _table(section: type[BaseModel], places: list[str]) -> str:
    content = section.model_json_schema()
    definitions = content.get("$defs", {})
    needed = content.get("required", [])
    title = ", ".join(f"`{place}`" if place else TOP for place in places)
    about = " ".join((section.__doc__ or "").split())
    lines = [f"### {title}", "", about, "", "| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in content["properties"].items():
        default = "**needed**" if name in needed else _default(field.get("default"))
        kind = _type(field, definitions).replace("|", "or")
        lines.append(f"| `{name}` | {kind} | {default} | {field.get('description', '')} |")
    return "\n".join(lines)


def _default(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "its own defaults"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON Schema's type as a recipe's author would say it, with its limits."""
    if "$ref" in field:
        target = definitions[field["$ref"].rpartition("/")[2]]
        return "mapping" if target.get("type") == "object" else _type(target, definitions)
    for key in ("anyOf", "oneOf"):
        if key in field:
            kinds = [_type(part, definitions) for part in field[key]]
            return " or ".join(kind for kind in dict.fromkeys(kinds) if kind != "null")
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = WORDS.get(str(field.get("type")), "any")
    if "prefixItems" in field:
        return "[" + ", ".join(_type(part, definitions) for part in field["prefixItems"]) + "]"
    if "items" in field:
        return f"list of {_type(field['items'], definitions)}"
    if isinstance(field.get("additionalProperties"), Mapping):
        return f"mapping to {_type(field['additionalProperties'], definitions)}"
    limits = [f"{sign} {field[key]}" for key, sign in LIMITS.items() if key in field]
    return " ".join([kind, ", ".join(limits)]).strip()


if __name__ == "__main__":
    print(tables())
