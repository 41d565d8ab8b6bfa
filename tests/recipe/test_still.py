"""Stages that only edit: what they may say, and that a stage without a length is refused as before."""

from __future__ import annotations

import pytest
import yaml

from transferkit.errors import InputError
from transferkit.recipe import load_recipe
from transferkit.recipe.schema import Stage

WORLD = {"world": {"kind": "target", "train": 10, "val": 5, "size": 16}}


def problems(tmp_path, *stages):
    first = {"name": "first", "start": "scratch", "dataset": "w", "epochs": 1, "fraction": 0.5}
    content = {"name": "x", "model": {"name": "test_resnet"}, "datasets": {"w": WORLD}, "stages": [first, *stages]}
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    try:
        return load_recipe(path)
    except InputError as error:
        return [f"{one.where} {one.message}" for one in error.problems]


def edited(**more):
    return {"name": "edited", "start": "first", "dataset": "w", "fraction": 0.5, "edits": []} | more


def test_edits_and_no_length_is_a_stage_without_training(tmp_path):
    loaded = problems(tmp_path, edited())
    assert not loaded.recipe.stage("edited").trains and loaded.recipe.stage("first").trains
    dumped = tmp_path / "dumped.yaml"
    dumped.write_text(loaded.dump(), encoding="utf-8")
    assert not load_recipe(dumped).recipe.stage("edited").trains
    with_edit = edited(edits=[{"use": "wise_ft"}], evaluate=["w"], batch_size=8)
    assert problems(tmp_path, with_edit).plugins("edited").calls("edit")


def test_without_edits_a_length_is_needed(tmp_path):
    (problem,) = problems(tmp_path, {key: value for key, value in edited().items() if key != "edits"})
    assert "give epochs or steps" in problem
    with pytest.raises(ValueError, match="give epochs or steps, not both"):
        Stage(name="x", dataset="w", epochs=1, steps=1, edits=[])


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"optimizer": {"lr": 1.0}}, "optimizer: has no meaning in a stage without training"),
        ({"regularizers": [{"use": "l2", "weight": 1}]}, "regularizers: has no meaning"),
        ({"head_init": "ridge"}, "head_init: has no meaning"),
        ({"start": "scratch"}, "needs a finished model, but start is scratch"),
        ({"model": {"options": {}}}, "model: is that of the model it starts from"),
        ({"fraction": 1.0}, 'fraction: is 1, and 0.5 in "first"'),
        ({"validation": 0.2}, 'validation: is 0.2, and 0.1 in "first"'),
    ],
)
def test_what_contradicts_it_is_named(tmp_path, more, text):
    assert any(text in problem for problem in problems(tmp_path, edited(**more)))
