"""Which analyzers an audit runs, with which options: those that ask to be part of it, or those that are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferkit.errors import InputError
from transferkit.hooks import Plugin, refuse_broken
from transferkit.names import plain_name
from transferkit.recipe.findings import Findings
from transferkit.recipe.plugin_use import Use, UseReader
from transferkit.recipe.schema import AnalyzerUse
from transferkit.recipe.sentences import keys_of
from transferkit.recipe.tree import Mark, Node
from transferkit.registry import Registry
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
    options = _by_wanted(options, wanted)
    _refuse_one_name(wanted)
    root = Node({name: _node(name, options.get(name, {})) for name in wanted}, Mark("analyses"))
    findings = Findings(root, "")
    reader = UseReader(registry, findings)
    uses = [reader.read("analyzer", AnalyzerUse, (name,), root.value[name]) for name in wanted]
    _refuse_recipe_keys(uses, options, findings)
    findings.raise_if_any()
    return [Chosen(use.plugin, use.options) for use in uses if use.plugin is not None]


def standard(registry: Registry, warn: Callable[[str], None]) -> list[str]:
    """The names of the installed analyzers that have a place in the standard audit, in order.

    One that cannot be used, or that shares its name with another one's, is left out with a warning.
    """
    places: list[tuple[float, str]] = []
    for name in registry.names("analyzer"):
        component = registry.get("analyzer", name)
        try:
            refuse_broken(component)
            place = getattr(component.cls, "standard_audit", None)
            if isinstance(place, int | float):
                registry.get("analyzer", component.name)
                places.append((place, name))
        except InputError as error:
            warn(f"left out: {error}")
    return [name for _, name in sorted(places)]


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


def _by_wanted(options: Options, wanted: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The options by the names in `wanted`, which may say their distribution or not. Refuses those of no analysis."""
    found: dict[str, Mapping[str, Any]] = {}
    for given, values in options.items():
        plain = plain_name(given)
        meant = given if given in wanted else next((name for name in wanted if plain_name(name) == plain), None)
        if meant is None or (":" in given and ":" in meant and given != meant):
            raise InputError(
                f'there are options for "{given}", which is not one of the analyses of this audit; '
                f"{did_you_mean(given, wanted)}"
            )
        found[meant] = {**found.get(meant, {}), **values}
    return found


def _refuse_one_name(wanted: Sequence[str]) -> None:
    """Reports lie in folders of the analyzer's name, so two of one name cannot be in one audit."""
    first: dict[str, str] = {}
    for name in wanted:
        if first.setdefault(plain_name(name), name) != name:
            raise InputError(f'"{first[plain_name(name)]}" and "{name}" would both report as "{plain_name(name)}"')


def _refuse_recipe_keys(uses: Sequence[Use], options: Options, findings: Findings) -> None:
    """`stage`, `dataset`, `every`, … belong to recipes; an audit is told by options of its own."""
    for use in uses:
        name = str(use.path[0])
        for key in set(options.get(name, {})) & set(keys_of(AnalyzerUse)):
            known = list(use.component.options.model_fields) if use.component is not None else []
            hint = did_you_mean(key, known) or f"{name} has no options"
            findings.add((name, key), "belongs to recipes, not to an audit", hint, at_key=True)
