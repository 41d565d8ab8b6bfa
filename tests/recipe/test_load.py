"""What a valid recipe becomes: values, origins, plugins, paths, and a dump that is the same recipe again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cost import cpu_seconds
from transferkit.recipe import load_recipe
from transferkit.recipe.uses import WeightSchedule

from .small_recipes import PLAIN, draw


def test_values_and_defaults(load):
    recipe = load().recipe
    target, second = recipe.stages
    assert (target.epochs, target.steps, target.optimizer.lr) == (3, None, 1e-3)
    assert target.regularizers[1].weight == WeightSchedule(**{"from": 0, "to": 0.1, "over": 2})
    assert second.start == "target" and second.batch_size == 32


def test_origins(load):
    loaded = load("stages.target.epochs=5")
    assert loaded.origin("name") == "recipe.yaml:1:7"
    assert loaded.origin("stages.target.epochs") == "command line: stages.target.epochs=5"
    assert loaded.origin("stages.target.regularizers.spectral.k") == "recipe.yaml:16:65"
    assert loaded.origin("stages.target.regularizers.spectral.scale") == "default"
    assert loaded.origin("seed") == "default"


def test_every_value_of_the_dump_has_an_origin(load):
    loaded = load()
    leaves = [path for path, origin in loaded.origins.items() if origin == "default"]
    assert {"device", "stages.second.batch_size", "analyses.memory.top"} <= set(leaves)


def test_plugins_in_recipe_order_with_their_options(load):
    loaded = load("stages.target.curriculum={use: blend, source: noisy}", "+stages.target.observers={use: watch}")
    plugins = loaded.plugins("target")
    assert [plugin.name for plugin in plugins] == ["pull", "spectral", "blend", "watch"]
    assert [plugin.kind for plugin in plugins][2:] == ["curriculum", "observer"]
    spectral = plugins.plugins[1].instance
    assert (spectral.k, spectral.scale) == (2, "absolute")
    assert loaded.plugins("target").plugins[1].instance is not spectral
    assert [plugin.instance.ratio for plugin in loaded.corruptions("noisy")] == [0.5]
    assert [plugin.instance.top for plugin in loaded.analyses()] == [5]


def test_plugin_defaults_are_part_of_the_recipe(load):
    assert load().recipe.stages[0].regularizers[1].options == {"k": 2, "scale": "absolute"}


def test_the_dump_is_the_same_recipe(load, place, registry):
    loaded = load("stages.target.optimizer.options={betas: [0.9, 1e-5], note: '010', flag: 'on', text: '1e-3'}")
    (place / "elsewhere").mkdir()
    dumped = place / "elsewhere" / "dump.yaml"
    dumped.write_text(loaded.dump())
    again = load_recipe(dumped, (), registry)
    assert again.recipe == loaded.recipe
    assert again.dump() == loaded.dump()


def test_a_corrupted_data_set_still_inherits_after_a_dump(load, place, registry):
    """Explicit defaults would win over what the data set it is made from says."""
    (place / "dump.yaml").write_text(load("datasets.pets.on_bad_image=skip").dump())
    noisy = load_recipe("dump.yaml", (), registry).recipe.datasets["noisy"]
    assert noisy.model_fields_set == {"from_", "corruptions"}


def test_paths_are_relative_to_the_file_that_gives_them(load, place, registry):
    experiments = place / "experiments"
    draw(experiments / "mine" / "train", cat=3, dog=3)
    (experiments / "mine.yaml").write_text("extends: ../recipe.yaml\ndatasets: {pets: {labels: labels.csv}}\n")
    (experiments / "labels.csv").write_text("index,folder,name\n0,cat,Cat\n1,dog,Dog\n")
    pets = load_recipe("experiments/mine.yaml", (), registry).recipe.datasets["pets"]
    assert pets.folder == str(place / "pets")
    assert pets.labels == str(experiments / "labels.csv")
    pets = load_recipe("experiments/mine.yaml", ["datasets.pets.folder=experiments/mine"], registry).recipe.datasets[
        "pets"
    ]
    assert pets.folder == str(experiments / "mine")


def test_home_is_expanded(load, place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    assert load("datasets.pets.folder=~/pets").recipe.datasets["pets"].folder == str(place / "pets")


def test_path_options_of_plugins(load, place):
    entry = "+stages.second.regularizers={use: remember, weight: 1, strength: 2, maps: maps.json}"
    remember = load(entry).plugins("second").plugins[0].instance
    assert remember.maps == place / "maps.json"


def test_a_stage_model_without_a_name_changes_the_recipe_model(load):
    recipe = load("model.options={drop_rate: 0.1}", "stages.second.model.options={drop_rate: 0.2}").recipe
    assert recipe.stages[1].model is not None
    assert (recipe.stages[1].model.name, recipe.stages[1].model.options) == ("resnet18", {"drop_rate": 0.2})


def test_fast_and_without_torch(place):
    (place / "plain.yaml").write_text(PLAIN)
    program = (
        "import sys; from transferkit.recipe import load_recipe; load_recipe('plain.yaml', ['seed=4'])\n"
        "assert not {'torch', 'timm', 'accelerate'} & set(sys.modules), 'torch was imported'"
    )
    assert cpu_seconds(program, folder=place, enough=0.5) < 0.5


@pytest.mark.real_data
def test_the_real_folder_layout(load, real_data: Path):
    text = f"""\
name: ants-vs-bees
model: {{name: mobilenetv2_100, weights: {real_data}/weights/mobilenetv2_100_imagenet1k.safetensors}}
datasets:
  ants_bees: {{folder: {real_data}/hymenoptera}}
stages: [{{name: target, dataset: ants_bees, epochs: 25}}]
"""
    assert load(text=text).recipe.stages[0].epochs == 25
