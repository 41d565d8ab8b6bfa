"""Which analyzers an audit runs, with which options: those that ask to be part of it, or those that are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferkit.errors import InputError
from transferkit.hooks import Plugin
from transferkit.recipe.findings import Findings
from transferkit.recipe.plugin_use import Use, UseReader
from transferkit.recipe.schema import AnalyzerUse
from transferkit.recipe.sentences import keys_of
from transferkit.recipe.tree import Mark, Node
from transferkit.registry import Component, Registry
from transferkit.suggest import did_you_mean

Options = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Chosen:
    """An analyzer of an audit: the configured instance, and every option's value as plain data."""

    plugin: Plugin
    parameters: dict[str, Any]

    @property
    def metrics(self) -> Sequence[str] | None:
        """The metrics it declares; None when it declares none."""
        declared: Sequence[str] | None = getattr(self.plugin.component.cls, "metrics", None)
        return declared


def choose(
    registry: Registry, names: Sequence[str] | None, options: Options, warn: Callable[[str], None]
) -> list[Chosen]:
    """The named analyzers, or every installed one with a place in the standard audit, in the order of these places.

    Raises InputError with every unknown name, option and value at once. An installed analyzer that cannot be
    loaded is only warned about, unless it is named.
    """
    wanted = list(dict.fromkeys(names)) if names is not None else standard(registry, warn)
    if not wanted:
        raise InputError(
            "there is no analysis to run: "
            + ("--analyses is empty" if names is not None else "no analyzer is installed")
        )
    _refuse_strangers(options, wanted)
    root = Node({name: _node(name, options.get(name, {})) for name in wanted}, Mark("analyses"))
    findings = Findings(root, "")
    reader = UseReader(registry, findings)
    uses = [reader.read("analyzer", AnalyzerUse, (name,), root.value[name]) for name in wanted]
    _refuse_recipe_keys(uses, options, findings)
    findings.raise_if_any()
    return [Chosen(use.plugin, use.options) for use in uses if use.plugin is not None]


def standard(registry: Registry, warn: Callable[[str], None]) -> list[str]:
    """The names of the installed analyzers that have a place in the standard audit, in order."""
    places = []
    for name in registry.names("analyzer"):
        component = registry.get("analyzer", name)
        place = _place(component, warn)
        if place is not None:
            places.append((place, name))
    return [name for _, name in sorted(places)]


def _place(component: Component, warn: Callable[[str], None]) -> float | None:
    try:
        place: float | None = getattr(component.cls, "standard_audit", None)
    except Exception as error:  # whatever a stranger's module raises must not stop the audit
        what = f"{type(error).__name__}: {error}"
        warn(f'the analyzer "{component.name}" of {component.owner} could not be loaded and is left out: {what}')
        return None
    return place


def _node(name: str, options: Mapping[str, Any]) -> Node:
    children = {"use": Node(name, Mark(f"analysis {name}"))}
    for key, value in options.items():
        mark = Mark(f"{name}.{key}={value}")
        children[key] = _tree(value, mark)
        children[key].key = mark
    return Node(children, Mark(f"analysis {name}"))


def _tree(value: Any, mark: Mark) -> Node:
    if isinstance(value, Mapping):
        return Node({str(key): _tree(inner, mark) for key, inner in value.items()}, mark)
    if isinstance(value, list | tuple):
        return Node([_tree(inner, mark) for inner in value], mark)
    return Node(value, mark)


def _refuse_strangers(options: Options, wanted: Sequence[str]) -> None:
    strangers = [name for name in options if name not in wanted]
    if strangers:
        raise InputError(
            f'there are options for "{strangers[0]}", which is not one of the analyses of this audit; '
            f"{did_you_mean(strangers[0], wanted)}"
        )


def _refuse_recipe_keys(uses: Sequence[Use], options: Options, findings: Findings) -> None:
    """`stage`, `dataset`, `every`, … belong to recipes; an audit is told by options of its own."""
    for use in uses:
        name = str(use.path[0])
        for key in set(options.get(name, {})) & set(keys_of(AnalyzerUse)):
            known = list(use.component.options.model_fields) if use.component is not None else []
            hint = did_you_mean(key, known) or f"{name} has no options"
            findings.add((name, key), "belongs to recipes, not to an audit", hint, at_key=True)
