"""JSON Schema of a recipe with the installed plugins, so that an editor completes and checks while one types.

A recipe that extends another, or is made to be extended with, may leave out everything and change list items by name,
so it gets a schema of its own in which nothing is required.
"""

from __future__ import annotations

from typing import Any

from transferkit.plugins.kinds import Kind
from transferkit.plugins.registry import Registry
from transferkit.recipe import schema
from transferkit.recipe.places import PLACES
from transferkit.recipe.uses import PluginUse

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"
# pydantic leaves these as they are where a validator of ours comes first
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def recipe_schema(registry: Registry) -> Json:
    """The schema of recipe files. Plugins that cannot be loaded are left out."""
    recipe = schema.Recipe.model_json_schema(ref_template=f"{_REF}{{model}}")
    defs: Json = recipe.pop("$defs")
    defs["Recipe"] = recipe
    for place in PLACES:
        defs |= _plugin_definitions(place.kind, place.use, registry)
        entry, reference = defs[place.section.__name__]["properties"][place.key], {"$ref": f"{_REF}plugin.{place.kind}"}
        if not place.single:
            entry["items"] = reference
        elif place.key == "loss":
            own = {"$ref": f"{_REF}Loss"}
            entry.clear()
            entry |= {"if": {"type": "object", "required": ["use"]}, "then": reference, "else": own}
        else:
            entry["anyOf"] = [reference, {"type": "null"}]
    for unused in ("PluginUse", "RegularizerUse", "CorruptionUse", "AnalyzerUse"):
        defs.pop(unused, None)
    defs = _tidy(defs)
    defs |= _partial_definitions(defs)
    by_name = {"type": "object"}  # only a recipe that is merged into another one can have its stages so
    return {
        "$schema": DIALECT,
        "title": "transferkit recipe",
        "type": "object",
        "if": {"anyOf": [{"required": ["extends"]}, {"required": ["stages"], "properties": {"stages": by_name}}]},
        "then": {"$ref": f"{_REF}partial.Recipe"},
        "else": {"$ref": f"{_REF}Recipe"},
        "$defs": defs,
    }


def _plugin_definitions(kind: Kind, use: type[PluginUse], registry: Registry) -> Json:
    """`plugin.KIND` chooses by `use`; `plugin.KIND.NAME` has the options of one plugin."""
    core = use.model_json_schema(ref_template=f"{_REF}{{model}}")
    defs: Json = core.pop("$defs", {})
    branches, names = [], []
    for name in registry.names(kind):
        component = registry.components[kind, name]
        place = f"plugin.{kind}.{name}"
        try:
            options = component.options.model_json_schema(ref_template=f"{_REF}{place}.{{model}}")
            summary = (component.cls.__doc__ or "").strip().partition("\n")[0]
        except Exception:  # a plugin that is broken has no options to offer; using it is an error of its own
            continue
        defs |= {f"{place}.{model}": part for model, part in options.pop("$defs", {}).items()}
        chosen = {"const": name, "description": summary}
        defs[place] = {
            "type": "object",
            "description": summary,
            "properties": {**core["properties"], **options.get("properties", {}), "use": chosen},
            "required": list(dict.fromkeys([*core.get("required", []), *options.get("required", [])])),
            "additionalProperties": False,
        }
        condition = {"properties": {"use": {"const": name}}, "required": ["use"]}
        branches.append({"if": condition, "then": {"$ref": f"{_REF}{place}"}})
        names.append(name)
    any_use = {"description": core["properties"]["use"].get("description", ""), "enum": names}
    chooser: Json = {"type": "object", "properties": {"use": any_use}, "required": ["use"]}
    defs[f"plugin.{kind}"] = chooser | ({"allOf": branches} if branches else {})
    return defs


def _tidy(value: Any, named: bool = False) -> Any:
    """Without pydantic's titles; `anyOf` for `oneOf`, as a weight schedule is also a mapping of numbers."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    if named:
        return {key: _tidy(item) for key, item in value.items()}
    kept = {_LIMITS.get(key, key): item for key, item in value.items() if key != "title"}
    if "oneOf" in kept:
        kept["anyOf"] = kept.pop("oneOf")
    return {key: _tidy(item, named=key in ("properties", "$defs")) for key, item in kept.items()}


def _partial_definitions(defs: Json) -> Json:
    """The same sections for a recipe that extends another: nothing is required, lists can be changed by name."""
    core = [name for name in defs if not name.startswith("plugin.")]
    partial: Json = {f"partial.{name}": _relaxed(defs[name], core) for name in core}
    change: Json = {"type": "object", "description": "changes to the plugin of that name"}
    for place in PLACES:
        owner, key = place.section.__name__, place.key
        properties = partial[f"partial.{owner}"]["properties"]
        if place.single:
            properties[key] = {"type": ["object", "null"]}
        else:
            _also_by_name(properties, key, defs[owner]["properties"][key], change)
    stages = defs["Recipe"]["properties"]["stages"]
    recipe = partial["partial.Recipe"]["properties"]
    _also_by_name(recipe, "stages", stages, {"$ref": f"{_REF}partial.Stage"})
    recipe["extends"] = {
        "description": "the recipe or recipes that this one changes, relative to this file",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    return partial


def _also_by_name(properties: Json, key: str, whole: Json, item: Json) -> None:
    by_name = {"type": "object", "additionalProperties": item}
    listed = {name: part for name, part in whole.items() if name not in ("default", "description")}
    properties[key] = {"description": whole.get("description", ""), "anyOf": [listed, by_name]}


def _relaxed(value: Any, core: list[str], named: bool = False) -> Any:
    if isinstance(value, list):
        return [_relaxed(item, core) for item in value]
    if not isinstance(value, dict):
        return value
    result: Json = {}
    for key, item in value.items():
        if key == "$ref" and not named and item.removeprefix(_REF) in core:
            result[key] = f"{_REF}partial.{item.removeprefix(_REF)}"
        elif named or key not in ("required", "default", "minItems", "minProperties"):
            result[key] = _relaxed(item, core, named=key in ("properties", "$defs") and not named)
    return result
