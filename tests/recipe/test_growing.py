"""A class list that grows, in a recipe: seen before anything starts, by names and without torch."""

from __future__ import annotations

import json

import pytest

from transferkit.cli.plan import data_remarks
from transferkit.data.sources import open_split

from .small_recipes import draw

GROWS = """
name: grow
model: {name: resnet18}
datasets:
  pets: {folder: pets}
  more: {folder: more, known: pets}
stages:
  - {name: target, dataset: more, epochs: 1, evaluate: [pets]}
"""


@pytest.fixture
def grows(place, load):
    draw(place / "more" / "train", owl=4, cat=2)
    draw(place / "more" / "val", owl=2)
    return lambda *overrides: load(*overrides, text=GROWS)


def test_the_plan_and_the_opened_data_agree(grows):
    loaded = grows()
    assert data_remarks(loaded)["more"][-1] == "more: 2 classes are known, 1 new: owl"
    assert open_split("more", loaded.recipe.datasets, "train").classes == ["cat", "dog", "owl"]


def test_no_new_class_is_fine_and_said(grows):
    found = data_remarks(grows("datasets.more.classes=[cat]", "datasets.more.splits={train: train}"))["more"]
    assert found[-1] == "more: 2 classes are known, and none is new"


def test_without_it_other_data_are_still_refused(grows, errors):
    grows()
    assert '"pets" has the class "dog", which this stage does not learn' in errors("datasets.more.known=null")


def test_paths_are_those_of_the_recipe(grows, place):
    (place / "labels.csv").write_text("index,folder,name\n0,dog,Dog\n1,cat,Cat\n")
    loaded = grows("datasets.more.known=labels.csv", "stages.target.evaluate=[]")
    assert loaded.recipe.datasets["more"].known == str(place / "labels.csv")
    assert data_remarks(loaded)["more"][-1] == "more: 2 classes are known, 1 new: owl"
    (place / "model").mkdir()
    (place / "model" / "config.json").write_text(json.dumps({"label_names": ["yak", "cat"]}))
    loaded = grows("datasets.more.known=model", "stages.target.evaluate=[]")
    assert open_split("more", loaded.recipe.datasets, "train").classes == ["yak", "cat", "owl"]


def test_nonsense_is_refused_by_name_and_once(grows, errors):
    def refused(*overrides):
        return errors(*overrides)

    grows()
    text = refused("datasets.pets.known=more")
    assert text.count("circle") == 1 and "more -> pets -> more" in text
    text = refused("datasets.more.known=pet")
    assert text.count('no data set called "pet"') == 1 and 'did you mean "pets"' in text
    assert "names no classes" not in text
    assert "no such model folder" in refused("datasets.more.known=./nowhere")
    assert "no model folder" in refused("datasets.more.known=pets/train")
    assert "is a table" in refused("datasets.t={synthetic: {task: source}}", "datasets.more.known=t")
    assert "a table has no classes" in refused("datasets.t={synthetic: {task: source}, known: pets}")


def test_one_new_class_is_enough(grows):
    grows("datasets.more.classes=[owl]")
