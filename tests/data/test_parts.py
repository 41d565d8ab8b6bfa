"""Fractions and validation splits, counted by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from transferkit.data.parts import StageImages, carve_validation, per_class_fraction
from transferkit.errors import InputError
from transferkit.recipe import load_recipe
from transferkit.recipe.counting import step_plan
from transferkit.recipe.schema import Dataset, Model, Recipe, Stage

LABELS = np.array([0] * 10 + [1] * 5 + [2] * 3 + [3])[np.random.default_rng(0).permutation(19)]


def counts(labels):
    return np.bincount(labels, minlength=4).tolist()


@pytest.mark.parametrize(
    ("fraction", "expected"),
    # floor(f * n + 1/2) of 10, 5, 3, 1
    [(0.5, [5, 3, 2, 1]), (0.75, [8, 4, 2, 1]), (1.0, [10, 5, 3, 1])],
)
def test_counts_per_class(fraction, expected):
    chosen = per_class_fraction(LABELS, fraction, seed=1)
    assert counts(LABELS[chosen]) == expected
    assert np.array_equal(chosen, np.unique(chosen))


def test_products_are_not_lost_to_rounding():
    # 0.29 * 50 is 14.499999999999998 in binary, 14.5 on paper
    assert len(per_class_fraction(np.zeros(50, int), 0.29, 0)) == 15


def test_smaller_fractions_are_nested():
    labels = np.repeat(np.arange(7), 40)
    chosen = [set(per_class_fraction(labels, f, seed=3).tolist()) for f in (0.1, 0.15, 0.3, 0.5, 1.0)]
    assert all(small < large for small, large in pairwise(chosen))


def test_seeds_differ_and_repeat():
    labels = np.repeat(np.arange(2), 100)
    first = per_class_fraction(labels, 0.5, 0)
    assert np.array_equal(first, per_class_fraction(labels, 0.5, 0))
    assert not np.array_equal(first, per_class_fraction(labels, 0.5, 1))


def test_a_class_that_would_be_empty_is_named():
    with pytest.raises(InputError, match=r"leaves no image of the class 'rare', which has 1; at least 0\.5"):
        per_class_fraction(LABELS, 0.4, 0, ["a", "b", "c", "rare"])
    with pytest.raises(InputError, match="class 3"):
        per_class_fraction(LABELS, 0.4, 0)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.1, [1, 1, 1, 0]), (0.3, [3, 2, 1, 0]), (0.99, [9, 4, 2, 0]), (0.0, [0, 0, 0, 0])]
)
def test_validation_is_stratified(share, expected):
    train, val = carve_validation(LABELS, share, seed=2)
    assert counts(LABELS[val]) == expected
    assert sorted([*train, *val]) == list(range(19))


def test_an_empty_set_has_empty_parts():
    assert [len(part) for part in carve_validation([], 0.5, 0)] == [0, 0]
    assert len(per_class_fraction([], 0.5, 0)) == 0


# --- groups: what belongs together ------------------------------------------------------------------------------------


def grouped_folder(root, groups=12, each=3):
    """train/ with two classes, and images NAME_i of so many patients, each of one class."""
    for group in range(groups):
        folder = root / "train" / "ab"[group % 2]
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(each + group % 4):
            Image.new("RGB", (8, 8), (group, index, 0)).save(folder / f"p{group}_{index}.png")
    return {"d": Dataset(folder=str(root), group=r"(p\d+)_")}


@pytest.mark.parametrize("seed", range(3))
def test_no_group_is_on_both_sides_and_the_plan_knows_the_numbers(tmp_path, seed):
    datasets = grouped_folder(tmp_path)
    stage = Stage(name="s", dataset="d", epochs=1, validation=0.25, fraction=0.6)
    images = StageImages(stage, datasets, seed)
    train, val = images.part("d", "train"), images.part("d", "val")
    groups = np.array(train.source.groups)
    assert not set(groups[train.indices]) & set(groups[val.indices])
    recipe = Recipe(name="r", seed=seed, model=Model(name="resnet10t"), datasets=datasets, stages=[stage])
    plan = step_plan(recipe, stage)
    labels = train.source.labels
    assert plan.validation == {name: int((labels[val.indices] == i).sum()) for i, name in enumerate("ab")}
    assert plan.train == {name: int((labels[train.indices] == i).sum()) for i, name in enumerate("ab")}
    assert plan.carved


def test_where_no_group_can_be_held_out_it_is_said(tmp_path):
    datasets = grouped_folder(tmp_path, groups=2)
    images = StageImages(Stage(name="s", dataset="d", epochs=1), datasets, 0)
    with pytest.raises(InputError, match="no group can be held out"):
        images.part("d", "val")
    with pytest.raises(InputError, match=r"stages\.s\.validation.*no group can be held out"):
        load_recipe(
            {
                "name": "r",
                "model": {"name": "resnet10t"},
                "datasets": {"d": {"folder": str(tmp_path), "group": r"(p\d+)_"}},
                "stages": [{"name": "s", "dataset": "d", "epochs": 1}],
            }
        )
