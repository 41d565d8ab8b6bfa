"""What can be said about an installed plugin: its options, what its hooks ask for, and its method card."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transferkit.errors import InputError
from transferkit.hookspecs import RunHooks
from transferkit.plugins.contained import contained, told
from transferkit.plugins.distributions import Owner
from transferkit.plugins.hooks import refuse_broken
from transferkit.plugins.registry import Component

RANGES = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
CORE_OPTIONS = {
    "regularizer": "weight (needed), name and on belong to every regularizer",
    "corruption": "name and splits belong to every corruption",
    "analyzer": "name, stage, dataset, baseline and every belong to every analyzer",
}
"""What every plugin of a kind has beside `name`, which all have."""


def listed(owner: Owner, name: str, component: Component | None, error: BaseException | None = None) -> dict[str, Any]:
    """One line of the list, under the name that recipes use: one that cannot be used has a status, and no hooks."""
    hooks: list[str] = []
    if component is not None:
        try:
            refuse_broken(component)
            hooks = component.hooks
        except InputError as broken:
            error = broken.__cause__ or broken
    return {
        "name": name,
        "kind": None if component is None else component.kind,
        "distribution": owner.distribution,
        "version": owner.version,
        "hooks": hooks,
        "status": "ok" if error is None else f"failed: {told(error)}",
    }


def described(component: Component) -> dict[str, Any]:
    """Everything that `plugins show` prints. Raises InputError for a plugin that cannot be used."""
    refuse_broken(component)
    with contained(f"{component} cannot be described"):
        return listed(component.owner, component.name, component) | {
            "module": component.cls.__module__,
            "class": component.cls.__qualname__,
            "doc": inspect.getdoc(component.cls) or "",
            "options": options(component.options.model_json_schema(), defaults(component)),
            "core_options": CORE_OPTIONS.get(component.kind, f"name belongs to every {component.kind}"),
            "requests": requests(component),
            "metrics": [asdict(metric) for metric in component.declared.metrics]
            if component.kind == "analyzer"
            else [],
            "card": card(component),
        }


def requests(component: Component) -> dict[str, list[str]]:
    """{hook: the arguments it asks for}."""
    found = {}
    for hook in component.hooks:
        known = inspect.signature(getattr(RunHooks, hook)).parameters
        asked = inspect.signature(getattr(component.cls, hook)).parameters
        found[hook] = [name for name in asked if name in known and name != "self"]
    return found


def defaults(component: Component) -> dict[str, Any]:
    """{option: its default as a JSON value}, without the options that must be given."""
    from pydantic_core import to_jsonable_python

    fields = component.options.model_fields
    return {
        name: to_jsonable_python(info.get_default(call_default_factory=True, validated_data={}), fallback=repr)
        for name, info in fields.items()
        if not info.is_required()
    }


def options(schema: Mapping[str, Any], known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry per option: name, type, default (absent when it must be given), range, description."""
    entries = []
    definitions = schema.get("$defs", {})
    for name, field in schema.get("properties", {}).items():
        entry = {
            "name": name,
            "type": type_words(field, definitions),
            "required": name in schema.get("required", []),
            "range": range_words(field, definitions),
            "description": field.get("description", ""),
        }
        if name in known:
            entry["default"] = known[name]
        entries.append(entry)
    return entries


def type_words(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON Schema's type as a recipe's author would say it."""
    field = _resolved(field, definitions)
    if "enum" in field:
        return " | ".join(str(value) for value in field["enum"])
    if "const" in field:
        return str(field["const"])
    if "anyOf" in field:
        return " | ".join(dict.fromkeys(type_words(part, definitions) for part in field["anyOf"]))
    kind = field.get("type", "any")
    if kind == "array":
        return f"list of {type_words(field.get('items', {}), definitions)}"
    if kind == "object" and isinstance(field.get("additionalProperties"), Mapping):
        return f"mapping to {type_words(field['additionalProperties'], definitions)}"
    names = {"integer": "whole number", "string": "text", "boolean": "true/false", "object": "mapping"}
    if field.get("format") in ("path", "file-path", "directory-path"):
        return "path"
    return names.get(str(kind), str(kind))


def range_words(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The limits of a value: "≥ 1, < 5"."""
    field = _resolved(field, definitions)
    limits = [f"{sign} {field[key]:g}" for key, sign in RANGES.items() if key in field]
    for part in field.get("anyOf", []):
        limits += [words for words in [range_words(part, definitions)] if words and words not in limits]
    return ", ".join(limits)


def _resolved(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = field.get("$ref", "")
    target: Mapping[str, Any] = definitions.get(reference.rpartition("/")[2], field) if reference else field
    return target


def card(component: Component) -> str | None:
    """The method card: README.md in the plugin's package, else the description of its distribution."""
    module = component.target.partition(":")[0] if isinstance(component.target, str) else component.target.__module__
    spec = find_spec(module.partition(".")[0])
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "README.md"
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
    try:
        text = metadata(component.owner.distribution).get_payload()  # type: ignore[attr-defined]
    except PackageNotFoundError:
        return None
    return str(text) if text and component.owner.distribution != "transferkit" else None
