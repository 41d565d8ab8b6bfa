import json
import shutil

import pytest

from transferkit.cli.models import find_model
from transferkit.errors import InputError


@pytest.fixture
def run(tmp_path, model_folder):
    run = tmp_path / "run"
    for stage in ("first", "second"):
        shutil.copytree(model_folder, run / "stages" / stage / "model")
    stages = {name: {"model": f"stages/{name}/model"} for name in ("first", "second", "third")}
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
    shutil.rmtree(run / "stages")
    with pytest.raises(InputError, match="no stage of"):
        find_model(str(run))
