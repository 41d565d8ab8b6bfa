"""Which model folder is meant: by itself, as a stage of a run, and what is neither."""

from __future__ import annotations

import json
import shutil

import pytest

from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.runs.folder import RunFolder
from transferkit.runs.model_place import ModelPlace, find_model, model_place
from transferkit.testing import tiny_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    return save_model(folder, tiny_model(["ants", "bees"]), None, {})


@pytest.fixture
def run(tmp_path, model_folder):
    run = tmp_path / "run"
    for stage in ("first", "second"):
        shutil.copytree(model_folder, run / "stages" / stage / "model")
    stages: dict = {name: {"model": f"stages/{name}/model"} for name in ("first", "second")} | {"third": {}}
    (run / "result.json").write_text(json.dumps({"status": "stopped", "stages": stages}))
    return run


def test_a_model_folder_and_local_dir(model_folder):
    assert find_model(str(model_folder)) == find_model(f"local-dir:{model_folder}") == model_folder
    assert find_model(str(model_folder.parent)) == model_folder


def test_a_run_means_its_last_finished_stage(run):
    assert find_model(str(run)) == run / "stages" / "second" / "model"
    assert find_model(str(run), "first") == run / "stages" / "first" / "model"
    assert find_model(str(run / "stages" / "first")) == run / "stages" / "first" / "model"


def test_refusals(run, model_folder, tmp_path):
    for given, stage, words in [
        (run, "frist", 'does not exist\n.*did you mean "first"'),
        (run, "third", "has not finished"),
        (model_folder, "first", "leave out --stage"),
        (tmp_path / "nothing", None, "does not exist"),
        (tmp_path, None, "neither a model folder"),
    ]:
        with pytest.raises(InputError, match=words):
            find_model(str(given), stage)
    (run / "result.json").write_text(json.dumps({"status": "stopped", "stages": {"first": {}}}))
    with pytest.raises(InputError, match="no stage of"):
        find_model(str(run))


def test_a_folder_of_runs_leads_to_the_newest(tmp_path):
    for run in ("20260101-000000-aaaa", "20260301-000000-aaaa", "20260201-000000-ffff"):
        (tmp_path / "runs" / "flowers" / run).mkdir(parents=True)
        (tmp_path / "runs" / "flowers" / run / "recipe.yaml").write_text("name: flowers")
    newest = tmp_path / "runs" / "flowers" / "20260301-000000-aaaa"
    for given in (tmp_path / "runs", tmp_path / "runs" / "flowers"):
        with pytest.raises(InputError) as refused:
            find_model(str(given))
        assert str(refused.value).endswith(f"; the newest run in it is {newest}")
        with pytest.raises(InputError, match=f"no recipe.yaml; the newest run in it is {newest}"):
            RunFolder.open(given)


def test_a_model_that_is_gone_is_not_replaced_by_another_stages(run):
    config = run / "stages" / "second" / "model" / "config.json"
    config.unlink()
    for stage in (None, "second"):
        with pytest.raises(InputError, match=r'the model of the stage "second" is not in .*second/model any more'):
            find_model(str(run), stage)
    assert find_model(str(run), "first") == run / "stages" / "first" / "model"


def test_the_run_and_the_stage_of_a_model(run, model_folder):
    folder = run / "stages" / "second" / "model"
    assert model_place(str(run)) == ModelPlace(folder)  # a folder that only looks like a run
    (run / "recipe.yaml").write_text("name: x\n")
    for given in (run, run / "stages" / "second", folder, f"local-dir:{folder}"):
        assert model_place(str(given)) == ModelPlace(folder, run, "second")
    assert model_place(str(run), "first").stage == "first"
    assert model_place(str(model_folder)) == ModelPlace(model_folder)


def test_the_folder_of_an_audit_has_no_model(tmp_path):
    for name in ("result.json", "audit.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="folder of an audit"):
        find_model(str(tmp_path))


def test_names_that_cannot_be_looked_up_are_sentences(tmp_path):
    for name in ("x" * 5000, "a\0b", "~nobody-of-that-name/x", str(tmp_path / ("y" * 300))):
        with pytest.raises(InputError, match="does not exist"):
            find_model(name)
