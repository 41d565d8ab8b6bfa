"""A plugin named in a recipe: found, its options validated against its own model, and made into an instance."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from transferkit.errors import InputError
from transferkit.plugins.contained import contained, said
from transferkit.plugins.hooks import Plugin, RunPlugins, refuse_broken
from transferkit.plugins.kinds import Kind
from transferkit.plugins.options import path_options
from transferkit.plugins.registry import Component, Registry
from transferkit.recipe.paths import resolve
from transferkit.recipe.sections import described, hint, joined, keys_of, not_a_mapping, one_per_place, validate
from transferkit.recipe.tree import Node, Problems, Steps
from transferkit.recipe.uses import PluginUse
from transferkit.words.suggest import SYNONYMS, closest, did_you_mean


@dataclass
class Use:
    """What could be made of one plugin entry; parts that are wrong are None."""

    path: Steps
    kind: Kind
    core: PluginUse | None = None
    component: Component | None = None
    plugin: Plugin | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class UseReader:
    """Reads plugin entries with one registry, into one list of problems."""

    registry: Registry
    problems: Problems

    def read(self, kind: Kind, model: type[PluginUse], path: Steps, node: Node) -> Use:
        """One entry of a list of plugins."""
        use = Use(path, kind)
        if not isinstance(node.value, dict):
            example = f"use: {node.value}, …" if isinstance(node.value, str) else "use: NAME, …"
            self.problems.add(path, *not_a_mapping(node.value, example))
            return use
        own = set(keys_of(model))
        name = node.text("use")
        use.component = self._component(kind, name, path) if name else None
        options = {key: child for key, child in node.value.items() if key not in own}
        use.core = validate(model, node, path, self.problems, without=tuple(options))
        if use.component is not None:
            self._options(use, use.component, model, Node(options, node.mark))
        return use

    def _component(self, kind: Kind, name: str, path: Steps) -> Component | None:
        """The component, if its class can be loaded and its hooks are well formed."""
        try:
            component = self.registry.get(kind, name)
            refuse_broken(component)
        except InputError as error:
            self.problems.refused((*path, "use"), error)
            return None
        return component

    def _options(self, use: Use, component: Component, model: type[PluginUse], node: Node) -> None:
        clash = sorted(set(component.options.model_fields) & set(keys_of(model)))
        if clash:
            message = f"{component.owner}: {component.name} has an option called {clash[0]}, which every {use.kind} has"
            self.problems.add((*use.path, "use"), message, "the plugin must rename it")
            return
        for name in path_options(component.options):
            resolve(node.child(name))
        valid = self._valid_options(use, component, model, node)
        if valid is None:
            return
        at = (*use.path, "use")
        try:
            with contained(f"{component} has an option that no recipe could say; give it field(init=False)"):
                plain = valid.model_dump(mode="json", warnings=False)
            use.options = {name: plain[name] for name in type(valid).model_fields}
            instance = component.create(node.plain())
        except ValueError as error:  # a plugin's own __post_init__ may refuse a combination
            self.problems.add(at, f"{component.name}: {said(error) or type(error).__name__}")
            return
        except InputError as error:
            self.problems.refused(at, error)
            return
        name = use.core.instance_name if use.core else component.name
        use.plugin = Plugin(use.kind, name, instance, component)

    def _valid_options(self, use: Use, component: Component, model: type[PluginUse], node: Node) -> BaseModel | None:
        errors = _booleans(component.options, node)
        try:
            valid = component.validate(node.plain())
        except ValidationError as error:
            errors = [*error.errors(include_url=False), *errors]
        except InputError as error:
            self.problems.refused((*use.path, "use"), error)
            return None
        for below, group in one_per_place(errors, node):
            path, first = (*use.path, *below), group[0]
            if first["type"] == "extra_forbidden":
                self._unknown_option(use, component, model, below)
            elif first["type"] == "missing":
                self.problems.add(path, f"is missing: {component.name} needs it", at_key=True)
            else:
                text = hint(first) or described(component.options, below, first)
                self.problems.add(path, joined(group), text)
        return None if errors else valid

    def _unknown_option(self, use: Use, component: Component, model: type[PluginUse], below: Steps) -> None:
        path, key = (*use.path, *below), str(below[-1])
        if len(below) > 1:
            self.problems.add(path, "there is no such key", at_key=True)
            return
        known = [*component.options.model_fields, *(name for name in keys_of(model) if name != "use")]
        owners = [name for name in self.registry.names(use.kind) if key in self._options_of(use.kind, name)]
        match = closest(key, known)
        if match and SYNONYMS.get(key.lower()) != match:
            text: str | None = f'did you mean "{match}"?'
        elif owners:
            text = f'"{key}" belongs to {", ".join(owners)}'
        else:
            text = did_you_mean(key, known)
        self.problems.add(path, f"{component.name} has no such option", text, at_key=True)

    def _options_of(self, kind: Kind, name: str) -> list[str]:
        with suppress(InputError):  # another plugin that is broken has nothing to suggest
            return list(self.registry.get(kind, name).options.model_fields)
        return []


def make(uses: Sequence[PluginUse], kind: Kind, registry: Registry) -> list[Plugin]:
    """New instances of plugins whose options are known to be valid."""
    components = [registry.get(kind, use.use) for use in uses]
    return [
        Plugin(kind, use.instance_name, component.create(use.options), component)
        for use, component in zip(uses, components, strict=True)
    ]


def requested(plugin: Plugin) -> set[str]:
    """Everything that some hook of the plugin asks for."""
    run = RunPlugins([plugin])
    return {name for hook in plugin.component.hooks for name in run.requests(hook)}


def _booleans(options: type[BaseModel], node: Node) -> list[Mapping[str, Any]]:
    """pydantic reads true as 1; where a plugin wants a number, that is a mistake."""
    errors: list[Mapping[str, Any]] = []
    for name, info in options.model_fields.items():
        child = node.child(name)
        if child is not None and isinstance(child.value, bool):
            wanted = _members(info.annotation)
            if bool not in wanted and wanted & {int, float}:
                kind = "int_type" if int in wanted else "float_type"
                errors.append({"type": kind, "loc": (name,), "input": child.value, "msg": "", "ctx": {}})
    return errors


def _members(annotation: Any) -> set[Any]:
    """The plain types in an annotation such as `Annotated[int, …] | None`."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return {member for part in get_args(annotation) for member in _members(part)}
    return {annotation}
