"""A recipe read section by section: what is right can be checked further even where something else is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError, create_model

from transferkit.recipe import schema
from transferkit.recipe.findings import Findings
from transferkit.recipe.plugin_use import Use, UseReader
from transferkit.recipe.sections import validate
from transferkit.recipe.sentences import keys_of, sentence, unknown_key
from transferkit.recipe.tree import Node, Steps
from transferkit.registry import Kind, Registry
from transferkit.suggest import closest

SECTIONS = ("model", "datasets", "stages", "analyses")
_NAME: TypeAdapter[str] = TypeAdapter(schema.Name)
_HEADER_FIELDS: dict[str, Any] = {
    name: (info.annotation, info) for name, info in schema.Recipe.model_fields.items() if name not in SECTIONS
}
_HEADER: Any = create_model("Header", __base__=schema.Section, **_HEADER_FIELDS)


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
    findings: Findings
    header: Any = None
    model: schema.Model | None = None
    datasets: dict[str, schema.Dataset | None] = field(default_factory=dict)
    corruptions: dict[str, list[Use]] = field(default_factory=dict)
    stages: list[StageDraft] = field(default_factory=list)
    analyses: list[Use] = field(default_factory=list)

    @property
    def uses(self) -> list[Use]:
        """Every plugin entry of the recipe."""
        stage_uses = [use for stage in self.stages for use in stage.uses]
        planted = [use for uses in self.corruptions.values() for use in uses]
        return [*planted, *stage_uses, *self.analyses]

    def stage_names(self) -> list[str]:
        """The names of all stages, in order."""
        return [stage.name for stage in self.stages if stage.name]


def read_draft(root: Node, registry: Registry, findings: Findings) -> Draft:
    """Validate every section of the tree; what is wrong goes to `findings`."""
    reader = _Reader(root, findings, UseReader(registry, findings))
    return reader.read()


def adopt_misspelt_keys(root: Node, findings: Findings) -> None:
    """Report unknown keys at the top, and read on as if they were spelt as they were probably meant."""
    known = keys_of(schema.Recipe)
    for name in [name for name in root.value if name not in known]:
        findings.add((name,), "there is no such key", unknown_key(name, schema.Recipe), at_key=True)
        node, match = root.value.pop(name), closest(name, known)
        if match and match not in root.value:
            root.value[match] = node


@dataclass
class _Reader:
    root: Node
    findings: Findings
    uses: UseReader

    def read(self) -> Draft:
        draft = Draft(self.root, self.findings)
        sections = self._sections()
        self._check_version()
        header = {name: node for name, node in self.root.value.items() if name in _HEADER.model_fields}
        draft.header = validate(_HEADER, Node(header, self.root.mark), (), self.findings)
        if "model" in sections:
            draft.model = validate(schema.Model, sections["model"], ("model",), self.findings)
        for name, node in self._mapping(sections, "datasets"):
            path: Steps = ("datasets", name)
            self._check_name(path, name)
            draft.datasets[name] = validate(schema.Dataset, node, path, self.findings, without=("corruptions",))
            draft.corruptions[name] = self._uses(node, path, "corruptions", "corruption", schema.CorruptionUse)
        for index, node in self._items(sections, "stages"):
            draft.stages.append(self._stage(("stages", index), node))
        for index, node in self._items(sections, "analyses"):
            draft.analyses.append(self.uses.read("analyzer", schema.AnalyzerUse, ("analyses", index), node))
        return draft

    def _check_version(self) -> None:
        node = self.root.child("recipe_version")
        if node is not None and isinstance(node.value, int) and node.value > schema.RECIPE_VERSION:
            message = f"{node.value} is newer than what this transferkit reads ({schema.RECIPE_VERSION})"
            self.findings.add(("recipe_version",), message, "upgrade transferkit")
            node.value = schema.RECIPE_VERSION

    def _sections(self) -> dict[str, Node]:
        """The sections that are there; one that is missing altogether is reported."""
        for name in ("model", "datasets", "stages"):
            if name not in self.root.value:
                self.findings.add((name,), "is missing", at_key=True)
        return {name: node for name, node in self.root.value.items() if name in SECTIONS}

    def _mapping(self, sections: dict[str, Node], key: str) -> list[tuple[str, Node]]:
        node = sections.get(key)
        if node is None:
            return []
        if not isinstance(node.value, dict) or not node.value:
            self.findings.add((key,), "a mapping of names is needed, with at least one data set", node=node)
            return []
        return list(node.value.items())

    def _items(self, sections: dict[str, Node], key: str) -> list[tuple[int, Node]]:
        node = sections.get(key)
        if node is None or (key == "analyses" and node.value == []):
            return []
        if not isinstance(node.value, list) or not node.value:
            hint = f"{key}:\n      - name: …" if key == "stages" else None
            self.findings.add((key,), "a list is needed (each item begins with a dash)", hint, node=node)
            return []
        return list(enumerate(node.value))

    def _check_name(self, path: Steps, name: str) -> None:
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            self.findings.add(path, sentence(error.errors()[0]), at_key=True)

    def _stage(self, path: Steps, node: Node) -> StageDraft:
        lists = ("regularizers", "curriculum", "observers")
        stage = validate(schema.Stage, node, path, self.findings, without=lists)
        uses = self._uses(node, path, "regularizers", "regularizer", schema.RegularizerUse)
        curriculum = node.child("curriculum")
        if curriculum is not None and curriculum.value is not None:
            place = (*path, "curriculum")
            uses.append(self.uses.read("curriculum", schema.PluginUse, place, curriculum))
        uses += self._uses(node, path, "observers", "observer", schema.PluginUse)
        if stage is not None:
            stage = stage.model_copy(update=_cores(uses))
        return StageDraft(path, node, node.text("name"), stage, uses)

    def _uses(self, node: Node, path: Steps, key: str, kind: Kind, model: type[schema.PluginUse]) -> list[Use]:
        entries = node.child(key)
        if entries is None:
            return []
        if not isinstance(entries.value, list):
            self.findings.add((*path, key), "a list is needed: [{use: NAME, …}]")
            return []
        return [self.uses.read(kind, model, (*path, key, index), item) for index, item in enumerate(entries.value)]


def _cores(uses: list[Use]) -> dict[str, Any]:
    """The plugin entries of a stage that are valid, for plugins that look at the stage in `check`."""
    of_kind: dict[Kind, list[Any]] = {"regularizer": [], "curriculum": [], "observer": []}
    for use in uses:
        if use.core is not None:
            of_kind[use.kind].append(use.core.model_copy(update=use.options) if use.options else use.core)
    curriculum = of_kind["curriculum"][0] if of_kind["curriculum"] else None
    return {"regularizers": of_kind["regularizer"], "curriculum": curriculum, "observers": of_kind["observer"]}
