"""`presets` and `preset`: named changes that are laid over a recipe by the rule of `extends`."""

from __future__ import annotations

import pytest

from transferkit.recipe import load_recipe

from .small_recipes import RECIPE

PRESETS = """\
presets:
  small:
    seed: 7
    stages:
      target:
        epochs: 1
        optimizer: {momentum: 0.5}
        regularizers: {spectral: {k: 3}}
      second: {observers: []}
  alone:
    stages: [{name: target, dataset: pets, epochs: 5}]
    analyses: []
"""
TEXT = RECIPE + PRESETS
SMALL = """\
extends: recipe.yaml
seed: 7
stages:
  target:
    epochs: 1
    optimizer: {momentum: 0.5}
    regularizers: {spectral: {k: 3}}
  second: {observers: []}
"""


def test_a_preset_changes_what_the_same_text_would_change_by_extending(load, place):
    plain = load(text=TEXT)
    assert plain.dump() == load(text=RECIPE, path="plain.yaml").dump()
    small = load("preset=small", text=TEXT)
    (place / "plain.yaml").write_text(RECIPE)
    extended = load(text=SMALL.replace("recipe.yaml", "plain.yaml"), path="mine.yaml")
    assert small.data() == extended.data() != plain.data()
    target = small.recipe.stages[0]
    assert (target.epochs, target.optimizer.lr, target.optimizer.momentum) == (1, 1e-3, 0.5)
    assert [use.options.get("k") for use in target.regularizers] == [None, 3]


def test_a_list_replaces_the_list(load):
    recipe = load("preset=alone", text=TEXT).recipe
    assert [stage.name for stage in recipe.stages] == ["target"]
    assert recipe.stages[0].regularizers == [] and recipe.analyses == []


def test_the_file_chooses_and_the_command_line_wins(load):
    chosen = "preset: small\n" + TEXT
    assert load(text=chosen).recipe.seed == 7
    assert load("preset=alone", text=chosen).recipe.seed == 0
    assert load("preset=null", text=chosen).recipe.seed == load("~preset", text=chosen).recipe.seed == 0
    assert load("seed=3", "stages.target.epochs=9", text=chosen).recipe.stages[0].epochs == 9
    # the order of the arguments does not matter
    for arguments in (("stages.target.epochs=9", "preset=small"), ("preset=small", "stages.target.epochs=9")):
        recipe = load(*arguments, text=TEXT).recipe
        assert (recipe.stages[0].epochs, recipe.seed) == (9, 7)


def test_a_preset_itself_can_be_changed_on_the_command_line(load):
    recipe = load("presets.small.seed=11", "preset=small", text=TEXT).recipe
    assert (recipe.seed, recipe.stages[0].epochs) == (11, 1)


def test_a_file_that_extends_brings_or_chooses_presets(load, place):
    (place / "base.yaml").write_text(TEXT)
    assert load(text="extends: base.yaml\npreset: small\n", path="mine.yaml").recipe.seed == 7
    more = "extends: base.yaml\npreset: small\npresets: {small: {seed: 8}}\n"
    recipe = load(text=more, path="mine.yaml").recipe
    assert (recipe.seed, recipe.stages[0].epochs) == (8, 1)


def test_the_resolved_recipe_has_neither_key_and_is_the_same_recipe(load, place, registry):
    loaded = load("preset=small", text=TEXT)
    assert not {"preset", "presets"} & set(loaded.data())
    (place / "dump.yaml").write_text(loaded.dump())
    again = load_recipe("dump.yaml", (), registry)
    assert again.recipe == loaded.recipe and again.dump() == loaded.dump()


def test_origins_name_the_line_of_the_preset(load):
    loaded = load("preset=small", text=TEXT)
    line = TEXT.splitlines().index("        epochs: 1") + 1
    assert loaded.origin("stages.target.epochs") == f"recipe.yaml:{line}:17"
    assert loaded.origin("stages.target.batch_size").startswith("recipe.yaml:12:")


LINE = len(TEXT.splitlines())


@pytest.mark.parametrize(
    ("overrides", "added", "expected"),
    [
        (
            ["preset=smal"],
            "",
            'command line: preset=smal  preset: there is no preset called "smal"\n'
            '    did you mean "small"?   available: alone, small',
        ),
        (
            [],
            "preset: tiny\n",
            f'recipe.yaml:{LINE + 1}:9  preset: there is no preset called "tiny"\n    available: alone, small',
        ),
        (
            ["preset=bad"],
            "  bad: {stages: {traget: {epochs: 1}}}\n",
            f'recipe.yaml:{LINE + 1}:18  there is no "traget" in the list that this changes\n'
            '    did you mean "target"?   available: second, target',
        ),
        (
            ["preset=bad"],
            "  bad: {sed: 1}\n",
            f'recipe.yaml:{LINE + 1}:9  sed: there is no such key\n    did you mean "seed"?',
        ),
        (
            ["preset=bad"],
            "  bad: {preset: small}\n",
            f"recipe.yaml:{LINE + 1}:9  presets.bad.preset: a preset changes the recipe, "
            "and cannot choose what it is made of",
        ),
        ([], "  bad: 3\n", None),
    ],
)
def test_what_is_wrong_with_a_preset(errors, overrides, added, expected):
    found = errors(*overrides, text=TEXT + added)
    if expected is None:
        expected = f"recipe.yaml:{TEXT.splitlines().index('presets:') + 1}:1  presets: a mapping of mappings"
        assert found.endswith("1 problem; nothing was started.") and "presets: a mapping of mappings is needed" in found
    else:
        assert found == f"{expected}\n1 problem; nothing was started."


def test_a_recipe_without_presets_says_so(errors):
    assert "    this recipe has none\n" in errors("preset=small")
