"""`classes` of a data set in checks and plans: counted as they will be read, and wrong names found early."""

from __future__ import annotations

import numpy as np
import pytest

from transferkit.data.sources import open_split
from transferkit.recipe.counting import class_counts, step_plan

from .small_recipes import draw

TEXT = """\
name: some
model: {name: resnet18}
datasets:
  pets: {folder: pets, classes: [dog, cat]}
  dogs: {from: pets, classes: [dog]}
  drawn: {from: pets, classes: 1}
  all: {from: pets, classes: null}
stages:
  - {name: target, dataset: pets, epochs: 3, batch_size: 4, evaluate: [dogs]}
"""


@pytest.fixture
def zoo(place):
    """The folder of cats and dogs, and owls that only training has."""
    draw(place / "pets" / "train", owl=5)
    return place


def test_counts_are_those_of_the_kept_classes(zoo, load):
    datasets = load(text=TEXT).recipe.datasets
    assert class_counts("pets", datasets) == {"train": {"dog": 8, "cat": 6}, "val": {"dog": 2, "cat": 2}}
    assert class_counts("dogs", datasets) == {"train": {"dog": 8}, "val": {"dog": 2}}
    assert class_counts("all", datasets)["train"] == {"cat": 6, "dog": 8, "owl": 5}
    (counted,) = class_counts("drawn", datasets)["train"].items()
    source = open_split("drawn", datasets, "train")
    assert counted == (source.classes[0], len(source))


def test_the_plan_counts_them(zoo, load):
    loaded = load(text=TEXT)
    plan = step_plan(loaded.recipe, loaded.recipe.stages[0])
    assert plan.train == {"dog": 8, "cat": 6} and plan.batches_per_epoch == 4


def test_a_class_that_is_left_out_may_be_empty(zoo, load, errors):
    (zoo / "pets" / "train" / "void").mkdir()
    load("~datasets.drawn", "~datasets.all", text=TEXT)
    assert 'the class "void" has no training images' in errors("~datasets.pets.classes", text=TEXT)


def test_names_of_a_labels_file(zoo, load):
    (zoo / "labels.csv").write_text("index,folder,name\n0,cat,the cat\n1,dog,the dog\n2,owl,the owl\n")
    overrides = ("datasets.pets.labels=labels.csv", "datasets.pets.classes=[the owl, cat]", "stages.target.evaluate=[]")
    datasets = load(*overrides, text=TEXT).recipe.datasets
    assert class_counts("pets", datasets) == {"train": {"owl": 5, "cat": 6}, "val": {"cat": 2}}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "datasets.pets.classes=[dogg, cat]",
            'datasets.pets.classes: there is no class "dogg"\n    did you mean "dog"?   available: cat, dog, owl',
        ),
        ("datasets.pets.classes=[cat, cat]", "datasets.pets.classes: a class is named twice"),
        ("datasets.pets.classes=9", "datasets.pets.classes: 9 are wanted, but there are only 3"),
        ("datasets.drawn.classes=[cow]", 'datasets.drawn.classes: there is no class "cow"'),
        ("datasets.pets.classes=[]", "datasets.pets.classes: needs at least 1 item"),
        ("datasets.pets.classes=[cat, owl]", '"dogs" has the class "dog", which this stage does not learn'),
        ("stages.target.dataset=dogs", 'datasets.pets.classes: all training images are of one class, "dog"'),
    ],
)
def test_one_mistake(zoo, errors, override, expected):
    found = errors(override, text=TEXT)
    assert expected in found and found.endswith("1 problem; nothing was started.")


def test_what_an_npz_file_and_the_drawn_world_hold(zoo, load):
    np.savez("d.npz", x_train=np.zeros((3, 4, 4), np.uint8), y_train=[0, 2, 1], classes=["a", "b", "c"])
    overrides = ("datasets.pets={npz: d.npz, folder: null, classes: [c, b]}", "stages.target.evaluate=[]")
    overrides += ("datasets.dogs.classes=null", "stages.target.validation=0")
    datasets = load(*overrides, text=TEXT).recipe.datasets
    assert class_counts("pets", datasets) == {"train": {"c": 1, "b": 1}}
    assert open_split("pets", datasets, "train").labels.tolist() == [0, 1]
    for kind, classes in (("digits", ["7", "1"]), ("source", ["ring", "disc"]), ("target", ["wheel", "sign"])):
        world = f"datasets.pets={{world: {{kind: {kind}, train: 5, val: 2}}, folder: null, classes: {classes}}}"
        text = TEXT.replace(", evaluate: [dogs]", "")
        datasets = load(world, "datasets.dogs.classes=null", text=text).recipe.datasets
        assert class_counts("pets", datasets) == {"train": dict.fromkeys(classes, 5), "val": dict.fromkeys(classes, 2)}
        assert open_split("pets", datasets, "val").classes == classes
