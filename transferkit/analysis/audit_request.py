"""What an audit is asked, as its audit.json keeps it, and which analyzers it runs, with which options. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transferkit.errors import InputError
from transferkit.plugins.hooks import Plugin, refuse_broken
from transferkit.plugins.registry import Registry
from transferkit.recipe.paths import absolute
from transferkit.recipe.plugin_use import Use, UseReader
from transferkit.recipe.sections import keys_of
from transferkit.recipe.tree import Mark, Node, Problems
from transferkit.recipe.uses import AnalyzerUse
from transferkit.runs.model_place import ModelPlace, model_place
from transferkit.system.atomic import read_json
from transferkit.words.doors import option
from transferkit.words.names import plain_name
from transferkit.words.suggest import did_you_mean

Options = Mapping[str, Mapping[str, Any]]
RECORD = "audit.json"
PLACES = ("target", "source", "baseline", "target_data", "source_data", "source_labels")


@dataclass(frozen=True)
class Arguments:
    """What an audit was asked, as it was given; relative paths are relative to `directory`.

    What is None follows from the target's run: see `audit_settings`.
    """

    target: str
    source: str | None
    baseline: str | None
    target_data: str | None
    source_data: str | None
    source_labels: str | None
    analyses: list[str] | None
    options: dict[str, dict[str, Any]]
    fail_on: list[str]
    seed: int | None
    device: str | None
    threads: int | None
    on_bad_image: str
    directory: str

    def here(self) -> Arguments:
        """The same, with models and data sets as they can be found from the present working directory."""
        if Path(self.directory) == Path.cwd():
            return self
        places: dict[str, Any] = {name: self._found(name) for name in PLACES}
        return replace(self, **places)

    def _found(self, name: str) -> str | None:
        text: str | None = getattr(self, name)
        before, at, path = (text or "").rpartition("@")
        there = absolute(path, Path(self.directory))
        return f"{before}{at}{there}" if text is not None and Path(there).exists() else text


def run_place(target: str) -> ModelPlace | None:
    """The model folder that was given and the run that it lies in; None where the target is no folder."""
    if not Path(target.removeprefix("local-dir:")).expanduser().is_dir():
        return None
    return model_place(target)


def is_audit(folder: Path) -> bool:
    """Whether the folder is an audit's rather than a run's."""
    return (folder / RECORD).is_file()


def read_arguments(folder: Path) -> Arguments:
    """What the audit of a folder was asked. Raises InputError when its audit.json cannot say."""
    try:
        return Arguments(**read_json(folder / RECORD, what="audit again")["arguments"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / RECORD} does not say what the audit was asked; audit again") from error


# --- analyzers ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChosenAnalyzer:
    """An analyzer of an audit: the configured instance, and every option's value as plain data."""

    plugin: Plugin
    parameters: dict[str, Any]


def choose(
    registry: Registry,
    names: Sequence[str] | None,
    options: Options,
    warn: Callable[[str], None],
    inherited: Options | None = None,
    recipe: str = "",
) -> list[ChosenAnalyzer]:
    """The named analyzers, or every installed one with a place in the standard audit, in the order of these places.

    Options that are not given are as in `inherited`, {analyzer: options}, which come from the file `recipe`.

    Raises InputError with every unknown name, option and value at once. An installed analyzer that cannot be
    loaded is only warned about, unless it is named.
    """
    wanted = list(dict.fromkeys(names)) if names is not None else standard(registry, warn)
    if not wanted:
        raise InputError(
            "there is no analysis to run: "
            + (f"{option('analyses')} is empty" if names is not None else "no analyzer is installed")
        )
    options = _by_wanted(options, wanted)
    _refuse_one_name(wanted)
    before = {name: (inherited or {}).get(plain_name(name), {}) for name in wanted}
    root = Node({name: _node(name, options.get(name, {}), before[name], recipe) for name in wanted}, Mark("analyses"))
    problems = Problems(root, "")
    reader = UseReader(registry, problems)
    uses = [reader.read("analyzer", AnalyzerUse, (name,), root.value[name]) for name in wanted]
    _refuse_recipe_keys(uses, options, problems)
    problems.raise_if_any()
    return [ChosenAnalyzer(use.plugin, use.options) for use in uses if use.plugin is not None]


def standard(registry: Registry, warn: Callable[[str], None]) -> list[str]:
    """The names of the installed analyzers that have a place in the standard audit, in order.

    One that cannot be used, or that shares its name with another one's, is left out with a warning.
    """
    places: list[tuple[float, str]] = []
    for name in registry.names("analyzer"):
        component = registry.get("analyzer", name)
        try:
            refuse_broken(component)
            place = component.declared.standard_audit
            if place is not None:
                registry.get("analyzer", component.name)
                places.append((place, name))
        except InputError as error:
            warn(f"left out: {error}")
    return [name for _, name in sorted(places)]


def _node(name: str, options: Mapping[str, Any], inherited: Mapping[str, Any], recipe: str) -> Node:
    children = {"use": Node(name, Mark(f"analysis {name}"))}
    for key, value in {**inherited, **options}.items():
        mark = Mark(f"{name}.{key}={value}" if key in options else f"{name}.{key}={value} in {recipe}")
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


def _refuse_recipe_keys(uses: Sequence[Use], options: Options, problems: Problems) -> None:
    """`stage`, `dataset`, `every`, … belong to recipes; an audit is told by options of its own."""
    for use in uses:
        name = str(use.path[0])
        for key in set(options.get(name, {})) & set(keys_of(AnalyzerUse)):
            known = list(use.component.options.model_fields) if use.component is not None else []
            hint = did_you_mean(key, known) or f"{name} has no options"
            problems.add((name, key), "belongs to recipes, not to an audit", hint, at_key=True)
