"""A recipe file becomes a validated Recipe, or one error with everything that is wrong. Never imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transferkit.errors import InputError
from transferkit.plugins.files import PluginFile, reading, with_files
from transferkit.plugins.hooks import Plugin, RunPlugins
from transferkit.plugins.registry import Registry, installed
from transferkit.recipe import yaml
from transferkit.recipe.checks import check_recipe
from transferkit.recipe.draft import Draft, adopt_misspelt_keys, read_draft
from transferkit.recipe.files import check_files
from transferkit.recipe.merge import extended, merge, read_extended
from transferkit.recipe.overrides import apply_overrides, apply_preset
from transferkit.recipe.paths import resolve_paths
from transferkit.recipe.places import places_in
from transferkit.recipe.plugin_files import plugin_files
from transferkit.recipe.plugin_use import make
from transferkit.recipe.schema import Dataset, Recipe, Stage
from transferkit.recipe.tree import Mark, Node, Problems, Steps, item_label, refusal, shown

GIVEN = "recipe"
"""What a recipe that is no file is called."""
HEADER = "# Resolved by transferkit: every value is explicit. It runs again to the same result."


@dataclass(frozen=True)
class Loaded:
    """A valid recipe, where each of its values came from, and how to make its plugins."""

    recipe: Recipe
    path: Path
    origins: Mapping[str, str] = field(repr=False)
    registry: Registry = field(repr=False)
    files: Sequence[PluginFile] = ()
    """The plugin files that it names."""

    def origin(self, path: str) -> str:
        """Where `stages.target.epochs` was given, say: a place in a file, `command line: …`, or `default`."""
        return self.origins.get(path, "default")

    def plugins(self, stage: Stage | str) -> RunPlugins:
        """New instances of a stage's plugins, in call order: see `places.PLACES`."""
        stage = self.recipe.stage(stage) if isinstance(stage, str) else stage
        places = places_in(Stage)
        return RunPlugins([one for place in places for one in make(place.uses(stage), place.kind, self.registry)])

    def corruptions(self, dataset: Dataset | str) -> RunPlugins:
        """New instances of a data set's own corruptions, in recipe order."""
        dataset = self.recipe.datasets[dataset] if isinstance(dataset, str) else dataset
        return RunPlugins(make(dataset.corruptions, "corruption", self.registry))

    def analyses(self) -> list[Plugin]:
        """New instances of the analyzers, one per entry of `recipe.analyses`."""
        return make(self.recipe.analyses, "analyzer", self.registry)

    def dump(self) -> str:
        """The resolved recipe as YAML: every value explicit, absolute paths, nothing extended."""
        return f"{HEADER}\n{yaml.dump(self.data())}"

    def data(self) -> dict[str, Any]:
        """The resolved recipe as plain data, with the keys of a recipe file."""
        data = self.recipe.model_dump(mode="json", by_alias=True, exclude={"preset", "presets"})
        for name, dataset in self.recipe.datasets.items():
            if dataset.from_ is not None:
                # what it does not say, it inherits: explicit defaults would win over the data set it is made from
                said = dataset.model_dump(mode="json", by_alias=True, exclude_unset=True)
                data["datasets"][name] = {key: value for key, value in said.items() if value is not None}
        return data


def load_recipe(
    recipe: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    registry: Registry | None = None,
    *,
    allow_plugins: bool = False,
) -> Loaded:
    """Read, extend, override and validate a recipe: a file, or its content as a dict, whose relative paths are
    relative to the working directory. Raises InputError with every problem at once.

    `allow_plugins`: code in plugin files that it names may run.
    """
    path = Path(GIVEN if isinstance(recipe, Mapping) else os.path.expanduser(recipe))
    try:
        if isinstance(recipe, Mapping):
            root = extended(yaml.tree(dict(recipe), Mark(GIVEN, folder=Path.cwd())), path)
        else:
            root = read_extended(path)
    except InputError as error:
        raise refusal(error.problems) from None
    return load_tree(root, path, overrides, registry, allow_plugins=allow_plugins)


def load_tree(
    root: Node,
    path: Path,
    overrides: Iterable[str] = (),
    registry: Registry | None = None,
    *,
    allow_plugins: bool = False,
) -> Loaded:
    """The same for a recipe that is a tree already; `path` is what it is called. Raises InputError."""
    registry = registry if registry is not None else installed()
    root, overrides, refused = apply_preset(root, overrides)
    problems = Problems(root, shown(path))
    problems.elsewhere += refused
    problems.elsewhere += apply_overrides(root, overrides)
    adopt_misspelt_keys(root, problems)
    _complete_models(root)
    resolve_paths(root)
    files = plugin_files(root, problems, allow_plugins)
    if files:
        registry = with_files(registry, files)
    with reading(registry):
        draft = read_draft(root, registry, problems)
        check_recipe(draft)
        check_files(draft)
    problems.raise_if_any()
    recipe = _with_readers(Recipe.model_validate(_data(draft)), registry)
    loaded = Loaded(recipe, path, {}, registry, files)
    return replace(loaded, origins=_origins(root, loaded.data()))


def _with_readers(recipe: Recipe, registry: Registry) -> Recipe:
    """The recipe, whose readers know what their names stand for in this registry."""
    datasets = {
        name: one
        if one.reader is None
        else one.model_copy(update={"reader": one.reader.meaning(registry.get("reader", one.reader.use))})
        for name, one in recipe.datasets.items()
    }
    return recipe.model_copy(update={"datasets": datasets})


def _complete_models(root: Node) -> None:
    """A stage's model without a name is the recipe's model with changes."""
    model, stages = root.child("model"), root.child("stages")
    if model is None or not isinstance(model.value, dict) or stages is None or not isinstance(stages.value, list):
        return
    for stage in stages.value:
        own = stage.child("model")
        if own is not None and isinstance(own.value, dict) and "name" not in own.value:
            stage.value["model"] = merge(model, own, [])


def _data(draft: Draft) -> dict[str, Any]:
    """Plain data of a tree without problems, with every plugin option explicit."""
    data: dict[str, Any] = draft.root.plain()
    for use in draft.uses:
        here: Any = data
        for key in use.path:
            here = here[key]
        here.update(use.options)
    return data


def _origins(root: Node, data: Mapping[str, Any]) -> dict[str, str]:
    """{dotted path: place} for every leaf of the resolved recipe."""
    origins: dict[str, str] = {}

    def visit(value: Any, path: Steps, label: tuple[str, ...]) -> None:
        if isinstance(value, dict) and value:
            for name, child in value.items():
                visit(child, (*path, name), (*label, name))
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for index, child in enumerate(value):
                visit(child, (*path, index), (*label, item_label(value, index)))
        else:
            node = root.find(path)
            origins[".".join(label)] = "default" if node is None else str(node.mark)

    visit(data, (), ())
    return origins
