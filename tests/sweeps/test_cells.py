"""Cells are known by what decides their result, and stages by what decides theirs."""

from __future__ import annotations

import pytest

from transferkit.errors import InputError
from transferkit.sweeps.cells import Known, cells_of, combinations, overrides
from transferkit.sweeps.spec import Sweep, read_sweep, recipe_of

from .conftest import RECIPE, SWEEP, write_sweep


def cells(folder, sweep=SWEEP, recipe=RECIPE):
    file = write_sweep(folder, sweep, recipe)
    spec = read_sweep(file)
    return cells_of(spec, recipe_of(spec, file), Known())


def keys(folder, **changed):
    return [cell.key for cell in cells(folder, **changed)]


def test_every_combination_once():
    sweep = Sweep(name="s", recipe="r", variants={"a": {}, "b": {"x": 1}}, grid={"k.lr": [1, 2], "z": ["p"]})
    assert list(combinations(sweep)) == [
        ("a, lr=1, z=p", {"k.lr": 1, "z": "p"}),
        ("a, lr=2, z=p", {"k.lr": 2, "z": "p"}),
        ("b, lr=1, z=p", {"x": 1, "k.lr": 1, "z": "p"}),
        ("b, lr=2, z=p", {"x": 1, "k.lr": 2, "z": "p"}),
    ]


def test_changes_are_arguments_of_run():
    changes = {"a.b": 0.5, "+list": {"use": "l2"}, "~gone": None, "name": "text", "off": None}
    assert overrides(changes) == ["a.b=0.5", '+list={"use": "l2"}', "~gone", "name=text", "off=null"]


def test_the_key_is_of_what_decides_the_result(tmp_path):
    before = keys(tmp_path)
    assert len(set(before)) == 4
    assert keys(tmp_path, recipe=RECIPE.replace("name: tiny", "name: other\ndescription: words")) == before
    assert keys(tmp_path, recipe=RECIPE.replace("threads: 1", "threads: 2")) == before
    assert not set(keys(tmp_path, recipe=RECIPE.replace("epochs: 2", "epochs: 3"))) & set(before)
    assert not set(keys(tmp_path, sweep=SWEEP.replace("seeds: 2", "seeds: [7, 8]"))) & set(before)
    (tmp_path / "data" / "train" / "dark" / "0.png").unlink()
    assert not set(keys(tmp_path)) & set(before)


def test_stages_are_shared_as_far_as_they_are_equal(tmp_path):
    plain0, plain1, rate0, _rate1 = cells(tmp_path)
    assert plain0.stage_keys["source"] == rate0.stage_keys["source"] != plain1.stage_keys["source"]
    assert plain0.stage_keys["target"] != rate0.stage_keys["target"]
    earlier = SWEEP.replace("stages.target.optimizer.lr: 0.5", "stages.source.optimizer.lr: 0.5")
    plain, _, other, _ = cells(tmp_path, sweep=earlier)
    assert plain.stage_keys["target"] != other.stage_keys["target"], "it starts from another model"


def test_the_same_run_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match='"plain" and "again" are the same run'):
        cells(tmp_path, sweep=SWEEP.replace("rate: {stages.target.optimizer.lr: 0.5}", "again: {}"))


def test_what_is_wrong_in_one_cell_names_it(tmp_path):
    with pytest.raises(InputError) as refused:
        cells(tmp_path, sweep=SWEEP.replace("optimizer.lr: 0.5", "optimiser.lr: 0.5"))
    assert "optimiser" in str(refused.value) and "in the cell rate" in " ".join(refused.value.__notes__)
