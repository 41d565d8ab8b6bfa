"""The JSON Schema: what is valid, what editors are told, and the shipped recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import installed
from transferkit.recipe import yaml
from transferkit.recipe.json_schema import recipe_schema
from transferkit.recipe.tree import Mark

from .small_recipes import RECIPE

jsonschema = pytest.importorskip("jsonschema")
RECIPES = Path(__file__).parents[2] / "recipes"
SHIPPED = sorted(path for path in RECIPES.glob("**/*.y*ml") if "sweep_version" not in path.read_text("utf-8"))


@pytest.fixture
def complaints(registry):
    schema = recipe_schema(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    def complaints(text: str) -> list[str]:
        data = yaml.parse(text, Mark("r.yaml", 1, 1, Path())).plain()
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)]

    return complaints


def test_a_valid_recipe_and_its_dump(complaints, load):
    assert complaints(RECIPE) == []
    assert complaints(load().dump()) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("batch_size", "batchsize", "('batchsize' was unexpected)"),
        ("k: 2", "kk: 2", "('kk' was unexpected)"),
        ("k: 2", "k: 0", "0 is less than the minimum of 1"),
        ("weight: 0.01", "weight: -1", "-1 is not valid under any of the given schemas"),
        ("use: spectral", "use: spectrl", "'spectrl' is not one of ['pull', 'remember', 'spectral']"),
        ("use: memory", "use: pull", "'pull' is not one of ['memory']"),
        ("lr: 1e-3", "lr: 0", "0 is less than or equal to the minimum of 0"),
        ("name: demo\n", "", "'name' is a required property"),
    ],
)
def test_mistakes(old, new, complaint, complaints):
    found = complaints(RECIPE.replace(old, new, 1))
    assert any(complaint in text for text in found), found


@pytest.mark.parametrize(
    "text",
    [
        "extends: base.yaml\n",
        "extends: [a.yaml, b.yaml]\nseed: 3\n",
        "extends: a.yaml\nstages: {target: {epochs: 3, regularizers: {bss: {k: 2}}}}\n",
        "extends: a.yaml\nstages: {target: {regularizers: [{use: pull, weight: 1}]}}\n",
        "extends: a.yaml\nmodel: {weights: w.safetensors}\ndatasets: {pets: {labels: l.csv}}\n",
        "extends: a.yaml\nstages: {target: {optimizer: {lr: 0.1}, curriculum: null}}\nanalyses: {memory: {top: 3}}\n",
    ],
)
def test_extending_recipes_may_be_partial(text, complaints):
    assert complaints(text) == []


def test_extending_recipes_are_checked_too(complaints):
    assert complaints("extends: a.yaml\nstages: {target: {epoch: 3}}\n")
    assert complaints("extends: a.yaml\nsed: 3\n")


def test_what_an_editor_is_told(registry):
    spectral = recipe_schema(registry)["$defs"]["plugin.regularizer.spectral"]
    assert spectral["description"] == "Acts on the spectrum of the features."
    assert spectral["properties"]["k"] == {"default": 1, "description": "how many", "minimum": 1, "type": "integer"}
    assert spectral["properties"]["scale"]["enum"] == ["absolute", "relative"]


def test_a_broken_plugin_is_left_out(registry):
    registry.add("regularizer", "broken", "no_such_module:Thing", Owner("x", "x", "1"))
    assert "plugin.regularizer.broken" not in recipe_schema(registry)["$defs"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes(path):
    validator = jsonschema.Draft202012Validator(recipe_schema(installed()))
    assert [error.message for error in validator.iter_errors(yaml.read(path).plain())] == []
