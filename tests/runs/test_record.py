import pytest

from tests.analysis.made_up_runs import metrics, write_run
from transferkit.errors import InputError
from transferkit.runs.record import read_run, validation_images


def test_reads_a_run(run_folder):
    run = read_run(run_folder)
    assert run.model_name("target") == "resnet18"
    assert run.stage_recipe("target")["dataset"] == "ants" and run.stage_recipe("other") == {}
    assert run.seconds("target") == run.seconds() == 10
    assert run.seconds("other") is None
    assert len(run.lines("target")) == 10


def test_counts_validation_images_from_what_there_is(tmp_path):
    def images(stage, lines=()):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return validation_images(
            read_run(write_run(folder, result={"stages": {"target": stage}}, lines=lines)), "target"
        )

    assert images({"images": 7}) == 7
    assert images({"images": {"train": 3, "val": 8}}) == 8
    assert images({"confusion": [[1, 2], [3, 4]]}) == 10
    assert images({}, metrics()) == 153
    assert images({}) is None


def test_what_is_no_run_is_said(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        read_run(tmp_path / "nothing")
    with pytest.raises(InputError, match="not a run folder"):
        read_run(tmp_path)
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(InputError, match="it holds a list"):
        read_run(tmp_path)
