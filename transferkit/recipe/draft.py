"""A recipe read section by section: what is right can be checked further even where something else is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError, create_model

from transferkit.plugins.registry import Registry
from transferkit.recipe import schema
from transferkit.recipe.base import Name, Section
from transferkit.recipe.places import Place, places_in
from transferkit.recipe.plugin_use import Use, UseReader
from transferkit.recipe.sections import keys_of, sentence, unknown_key, validate
from transferkit.recipe.tree import Node, Problems, Steps
from transferkit.recipe.uses import AnalyzerUse, PluginUse
from transferkit.words.suggest import closest

SECTIONS = ("model", "datasets", "stages", "analyses")
S = TypeVar("S", bound=Section)
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_HEADER_FIELDS: dict[str, Any] = {
    name: (info.annotation, info) for name, info in schema.Recipe.model_fields.items() if name not in SECTIONS
}
_HEADER: Any = create_model("Header", __base__=Section, **_HEADER_FIELDS)


@dataclass
class StageDraft:
    """One stage: its name if it has one, the stage if it could be built, its plugins in call order."""

    path: Steps
    node: Node
    name: str | None
    stage: schema.Stage | None
    uses: list[Use] = field(default_factory=list)


@dataclass
class Draft:
    """Everything that could be read of a recipe; None where it could not."""

    root: Node
    problems: Problems
    registry: Registry
    header: Any = None
    model: schema.Model | None = None
    datasets: dict[str, schema.Dataset | None] = field(default_factory=dict)
    planted: dict[str, list[Use]] = field(default_factory=dict)
    """The plugins of each data set: its reader and its corruptions."""
    stages: list[StageDraft] = field(default_factory=list)
    analyses: list[Use] = field(default_factory=list)

    @property
    def uses(self) -> list[Use]:
        """Every plugin entry of the recipe."""
        stage_uses = [use for stage in self.stages for use in stage.uses]
        planted = [use for uses in self.planted.values() for use in uses]
        return [*planted, *stage_uses, *self.analyses]

    def stage_names(self) -> list[str]:
        """The names of all stages, in order."""
        return [stage.name for stage in self.stages if stage.name]


def read_draft(root: Node, registry: Registry, problems: Problems) -> Draft:
    """Validate every section of the tree; what is wrong goes to `problems`."""
    return _Reader(root, problems, UseReader(registry, problems)).read()


def adopt_misspelt_keys(root: Node, problems: Problems) -> None:
    """Report unknown keys at the top, and read on as if they were spelt as they were probably meant."""
    known = keys_of(schema.Recipe)
    for name in [name for name in root.value if name not in known]:
        problems.add((name,), "there is no such key", unknown_key(name, schema.Recipe), at_key=True)
        node, match = root.value.pop(name), closest(name, known)
        if match and match not in root.value:
            root.value[match] = node


@dataclass
class _Reader:
    root: Node
    problems: Problems
    uses: UseReader

    def read(self) -> Draft:
        draft = Draft(self.root, self.problems, self.uses.registry)
        for name in ("model", "datasets", "stages"):
            if name not in self.root.value:
                self.problems.add((name,), "is missing", at_key=True)
        version = self.root.child("recipe_version")
        if version is not None and isinstance(version.value, int) and version.value > schema.RECIPE_VERSION:
            message = f"{version.value} is newer than what this transferkit reads ({schema.RECIPE_VERSION})"
            self.problems.add(("recipe_version",), message, "upgrade transferkit")
            version.value = schema.RECIPE_VERSION
        header = {name: node for name, node in self.root.value.items() if name in _HEADER.model_fields}
        draft.header = validate(_HEADER, Node(header, self.root.mark), (), self.problems)
        model = self.root.child("model")
        if model is not None:
            draft.model = validate(schema.Model, model, ("model",), self.problems)
        for name, node in self._datasets():
            path: Steps = ("datasets", name)
            try:
                _NAME.validate_python(name)
            except ValidationError as error:
                self.problems.add(path, sentence(error.errors()[0]), at_key=True)
            uses = self._uses(schema.Dataset, node, path)
            draft.datasets[name] = self._dataset(node, path, uses)
            draft.planted[name] = uses
        for index, node in self._items("stages"):
            draft.stages.append(self._stage(("stages", index), node))
        for index, node in self._items("analyses"):
            draft.analyses.append(self.uses.read("analyzer", AnalyzerUse, ("analyses", index), node))
        return draft

    def _dataset(self, node: Node, path: Steps, uses: list[Use]) -> schema.Dataset | None:
        """The data set; None as well where its reader cannot be made, about which enough is said."""
        taken = self._taken(schema.Dataset, node)
        reader = node.child("reader")
        if reader is not None and reader.value is not None:  # it is the source, so that it cannot be left out
            taken = tuple(key for key in taken if key != "reader")
            stand_in = Node({"use": Node("reader", reader.mark)}, reader.mark, reader.key)
            node = Node({**node.value, "reader": stand_in}, node.mark, node.key)
        dataset = validate(schema.Dataset, node, path, self.problems, without=taken)
        if dataset is None or any(use.kind == "reader" and use.plugin is None for use in uses):
            return None
        return _with_cores(dataset, uses)

    def _datasets(self) -> Iterable[tuple[str, Node]]:
        node = self.root.child("datasets")
        if node is None or (isinstance(node.value, dict) and node.value):
            return node.value.items() if node is not None else ()
        self.problems.add(("datasets",), "a mapping of names is needed, with at least one data set", node=node)
        return ()

    def _items(self, key: str) -> Iterable[tuple[int, Node]]:
        node = self.root.child(key)
        if node is None or (key == "analyses" and node.value == []):
            return ()
        if isinstance(node.value, list) and node.value:
            return enumerate(node.value)
        hint = f"{key}:\n      - name: …" if key == "stages" else None
        self.problems.add((key,), "a list is needed (each item begins with a dash)", hint, node=node)
        return ()

    def _stage(self, path: Steps, node: Node) -> StageDraft:
        stage = validate(schema.Stage, node, path, self.problems, without=self._taken(schema.Stage, node))
        uses = self._uses(schema.Stage, node, path)
        return StageDraft(path, node, node.text("name"), stage and _with_cores(stage, uses), uses)

    def _taken(self, section: type[Section], node: Node) -> tuple[str, ...]:
        """The keys of the section whose values are read as plugins."""
        return tuple(place.key for place in places_in(section) if _names_plugins(place, node.child(place.key)))

    def _uses(self, section: type[Section], node: Node, path: Steps) -> list[Use]:
        """Every plugin that the section names, in call order."""
        found: list[Use] = []
        for place in places_in(section):
            entry = node.child(place.key)
            if entry is None or not _names_plugins(place, entry):
                continue
            if place.single:
                found += [self.uses.read(place.kind, place.use, (*path, place.key), entry)] if entry.value else []
            elif isinstance(entry.value, list):
                for index, item in enumerate(entry.value):
                    found.append(self.uses.read(place.kind, place.use, (*path, place.key, index), item))
            else:
                self.problems.add((*path, place.key), "a list is needed: [{use: NAME, …}]")
        return found


def _names_plugins(place: Place, entry: Node | None) -> bool:
    """Whether it is read as a plugin: a stage's loss is one only where it says `use`."""
    return place.key != "loss" or (entry is not None and isinstance(entry.value, dict) and "use" in entry.value)


def _with_cores(section: S, uses: list[Use]) -> S:
    """The section with those of its plugin entries that are valid, for plugins that look at it in `check`."""
    update: dict[str, Any] = {}
    for place in places_in(type(section)):
        cores = [
            _meant(use.core.model_copy(update=use.options) if use.options else use.core, use)
            for use in uses
            if use.kind == place.kind and use.core is not None
        ]
        if not place.single:
            update[place.key] = cores
        elif cores:
            update[place.key] = cores[0]
    return section.model_copy(update=update)


def _meant(core: PluginUse, use: Use) -> PluginUse:
    return core.meaning(use.component) if use.kind == "reader" and use.component is not None else core
