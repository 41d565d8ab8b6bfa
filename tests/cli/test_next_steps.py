"""Every command that is printed after a run works as it stands."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest

from transferkit.cli.next_steps import next_steps, photographs_of
from transferkit.recipe import load_recipe

STAGES = {"target": {"model": "stages/target/model"}}


@pytest.fixture
def run_dir(tmp_path, images, model_folder):
    """A run in a folder whose name has a blank, as next_steps and the verbs see it."""
    made = tmp_path / "my runs" / "r" / "1"
    shutil.copytree(model_folder, made / "stages" / "target" / "model")
    stage = {"name": "target", "start": "scratch", "dataset": "d", "epochs": 1}
    recipe = {"name": "r", "model": {"name": "test_resnet"}, "datasets": {"d": {"folder": str(images)}}}
    (made / "recipe.yaml").write_text(json.dumps(recipe | {"stages": [stage]}))
    result = {"run_dir": str(made), "status": "done", "stages": STAGES, "analyses": {}, "seed": 0}
    (made / "result.json").write_text(json.dumps(result))
    return made


def commands(run_dir):
    return [shlex.split(line) for line in next_steps(run_dir, STAGES)]


def test_they_run(cli, run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {words[1]: words[1:] for words in commands(run_dir)}
    assert {"predict", "explain"} <= found.keys()
    assert "compare" not in found and "audit" not in found  # nothing to compare with, no images of a source
    assert "ants" in cli(*found["predict"]).stdout
    assert cli(*found["explain"]).exit_code == 0
    for words in found.values():
        assert cli(words[0], "--help").exit_code == 0


def test_a_second_run_is_compared(run_dir):
    other = run_dir.parent / "2"
    other.mkdir()
    shutil.copy(run_dir / "result.json", other)
    assert ["compare", str(run_dir.parent)] in [words[1:] for words in commands(run_dir)]


def test_a_guarded_model_detects(run_dir):
    (run_dir / "stages" / "target" / "model" / "interference.json").write_text("{}")
    assert commands(run_dir)[0][1] == "detect"


def test_data_that_are_gone_leave_what_needs_none(run_dir, images):
    shutil.rmtree(images)
    assert not {"predict", "explain"} & {words[1] for words in commands(run_dir)}


def test_a_drawn_world_leaves_photographs(tmp_path):
    worlds = {kind: {"world": {"kind": kind, "train": 2, "val": 2, "size": 24}} for kind in ("source", "target")}
    stage = {"name": "s", "start": "scratch", "dataset": "target", "epochs": 1}
    recipe = {"name": "r", "model": {"name": "test_resnet"}, "datasets": worlds, "stages": [stage]}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    found = photographs_of(load_recipe(tmp_path / "r.yaml"), tmp_path, "s")
    assert [path.name for path in found] == ["sign.png", "wheel.png", "checker.png", "cross.png"]
    assert all(path.is_file() and path.parent == tmp_path / "photographs" for path in found)
