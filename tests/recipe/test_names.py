"""Options that name stages and data sets are checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
from pydantic import Field

from transferkit.errors import InputError
from transferkit.plugins.distributions import Owner
from transferkit.plugins.options import reference_options
from transferkit.plugins.registry import Register, Registry
from transferkit.recipe import load_recipe
from transferkit.words.names import DatasetName, StageName

RECIPE = """
name: names
model: {name: resnet18}
datasets:
  clean: {world: {kind: target}}
stages:
  - {name: first, start: scratch, dataset: clean, epochs: 1}
analyses:
  - use: looks
    at: clear
    sets: [clean, cleen]
    best: frist
    note: nothing
"""


@dataclass
class Looks:
    """An analyzer whose options name things."""

    at: DatasetName
    best: Annotated[StageName | None, Field(description="a stage")] = None
    sets: Annotated[list[DatasetName], Field(min_length=1)] = field(default_factory=list)
    note: str = ""

    def analyze(self, session):
        """Never called here."""


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    Register(registry, Owner("looks", "third-party", "1.0")).analyzer("looks", Looks)
    return registry


def test_the_types_say_what_the_options_name(registry):
    component = registry.get("analyzer", "looks")
    assert reference_options(component.options) == {"at": "data set", "best": "stage", "sets": "data set"}


def test_every_unknown_name_is_one_sentence_with_its_place(registry, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_recipe(path, registry=registry)
    text = str(refused.value)
    assert 'analyses.looks.at: there is no data set called "clear"' in text
    assert 'analyses.looks.sets.1: there is no data set called "cleen"' in text
    assert 'analyses.looks.best: there is no stage called "frist"' in text
    assert 'did you mean "first"?' in text and "3 problems" in text


def test_known_names_pass(registry, tmp_path):
    right = RECIPE.replace("clear", "clean").replace(", cleen", "")
    path = tmp_path / "recipe.yaml"
    path.write_text(right.replace("frist", "first"), encoding="utf-8")
    assert load_recipe(path, registry=registry).analyses()[0].instance.best == "first"
