"""Where recipes name plugins: the one table of sections, keys and kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transferkit.plugins.kinds import Kind
from transferkit.recipe.base import Section
from transferkit.recipe.schema import Dataset, Recipe, Stage
from transferkit.recipe.uses import AnalyzerUse, CorruptionUse, PluginUse, RegularizerUse


@dataclass(frozen=True)
class Place:
    """Where recipes name plugins of a kind: a key of a section, a list of uses or a `single` one."""

    section: type[Section]
    key: str
    kind: Kind
    use: type[PluginUse] = PluginUse
    single: bool = False

    def uses(self, section: Section) -> list[Any]:
        """The uses that the section has there."""
        value = getattr(section, self.key)
        return list(value) if isinstance(value, list) else [value] if isinstance(value, PluginUse) else []


PLACES = (
    Place(Dataset, "reader", "reader", single=True),
    Place(Dataset, "corruptions", "corruption", CorruptionUse),
    Place(Stage, "adapters", "adapter"),
    Place(Stage, "regularizers", "regularizer", RegularizerUse),
    Place(Stage, "curriculum", "curriculum", single=True),
    Place(Stage, "augment", "augmentation"),
    Place(Stage, "loss", "loss", single=True),
    Place(Stage, "metrics", "metric"),
    Place(Stage, "observers", "observer"),
    Place(Stage, "edits", "edit"),
    Place(Recipe, "analyses", "analyzer", AnalyzerUse),
)
"""Every place, in the order in which a run calls the plugins that it names."""


def places_in(section: type[Section]) -> list[Place]:
    """Those of one section."""
    return [place for place in PLACES if place.section is section]
