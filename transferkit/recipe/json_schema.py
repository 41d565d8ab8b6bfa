"""JSON Schema of a recipe with the installed plugins, so that an editor completes and checks while one types.

A recipe that extends another, or is made to be extended with, may leave out everything and change list items by name,
so it gets a schema of its own in which nothing is required.
"""

from __future__ import annotations

from typing import Any

from transferkit.recipe import schema
from transferkit.registry import KINDS, Kind, Registry

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
CORE: dict[Kind, type[schema.PluginUse]] = {
    "regularizer": schema.RegularizerUse,
    "curriculum": schema.PluginUse,
    "corruption": schema.CorruptionUse,
    "analyzer": schema.AnalyzerUse,
    "observer": schema.PluginUse,
}
PLACES: dict[tuple[str, str], Kind] = {
    ("Stage", "regularizers"): "regularizer",
    ("Stage", "curriculum"): "curriculum",
    ("Stage", "observers"): "observer",
    ("Dataset", "corruptions"): "corruption",
    ("Recipe", "analyses"): "analyzer",
}
_REF = "#/$defs/"
# pydantic leaves these as they are where a validator of ours comes first
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def recipe_schema(registry: Registry) -> Json:
    """The schema of recipe files. Plugins that cannot be loaded are left out."""
    recipe = schema.Recipe.model_json_schema(ref_template=f"{_REF}{{model}}")
    defs: Json = recipe.pop("$defs")
    defs["Recipe"] = recipe
    for kind in KINDS:
        defs |= _plugin_definitions(kind, registry)
    for (owner, key), kind in PLACES.items():
        _point_to(defs[owner]["properties"], key, f"plugin.{kind}")
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


def _point_to(properties: Json, key: str, name: str) -> None:
    reference = {"$ref": f"{_REF}{name}"}
    if properties[key].get("type") == "array":
        properties[key]["items"] = reference
    else:
        properties[key] = {**properties[key], "anyOf": [reference, {"type": "null"}]}


def _plugin_definitions(kind: Kind, registry: Registry) -> Json:
    """`plugin.KIND` chooses by `use`; `plugin.KIND.NAME` has the options of one plugin."""
    core = CORE[kind].model_json_schema(ref_template=f"{_REF}{{model}}")
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
        defs[place] = _closed(core, options, name, summary)
        condition = {"properties": {"use": {"const": name}}, "required": ["use"]}
        branches.append({"if": condition, "then": {"$ref": f"{_REF}{place}"}})
        names.append(name)
    use = {"description": core["properties"]["use"].get("description", ""), "enum": names}
    chooser: Json = {"type": "object", "properties": {"use": use}, "required": ["use"]}
    defs[f"plugin.{kind}"] = chooser | ({"allOf": branches} if branches else {})
    return defs


def _closed(core: Json, options: Json, name: str, summary: str) -> Json:
    use = {"const": name, "description": summary}
    required = dict.fromkeys([*core.get("required", []), *options.get("required", [])])
    return {
        "type": "object",
        "description": summary,
        "properties": {**core["properties"], **options.get("properties", {}), "use": use},
        "required": list(required),
        "additionalProperties": False,
    }


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
    for (owner, key), _ in PLACES.items():
        if key != "curriculum":
            _also_by_name(partial[f"partial.{owner}"]["properties"], key, defs[owner]["properties"][key], change)
        else:
            partial[f"partial.{owner}"]["properties"][key] = {"type": ["object", "null"]}
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
