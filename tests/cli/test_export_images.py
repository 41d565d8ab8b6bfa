"""Which labelled images an export with fewer bits is calibrated with and measured on."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.plugins.two_stage_runs import recipe, run
from transferkit.cli.export_images import pictures
from transferkit.errors import InputError


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(tmp_path_factory.mktemp("run"), recipe(validation=0.2)).run_dir


def test_those_of_the_run_as_its_stage_had_them(done):
    found = pictures(done / "stages" / "target" / "model", None)
    images = json.loads((done / "result.json").read_text())["stages"]["target"]["images"]
    shown, labelled = list(found.calibration()), list(found.validation())
    assert (len(shown), len(labelled)) == (images["train"], images["val"])
    seen = {one.tobytes() for one in shown}
    assert not any(one.tobytes() in seen for one, _ in labelled)
    assert {label for _, label in labelled} == set(range(10))


def test_without_a_run_they_must_be_given(done, tmp_path):
    folder = shutil.copytree(done / "stages" / "target" / "model", tmp_path / "model")
    with pytest.raises(InputError, match=r"lies in no run.*--calibration FOLDER"):
        pictures(folder, None)


def test_of_a_folder(model_folder, images):
    found = pictures(model_folder, images)
    assert (len([*found.calibration()]), [label for _, label in found.validation()]) == (8, [0, 0, 0, 1, 1, 1])
    found = pictures(model_folder, images / "train")  # without splits: every second one for either
    assert (len([*found.calibration()]), [label for _, label in found.validation()]) == (4, [0, 0, 1, 1])


def test_an_export_says_what_fewer_bits_cost(cli, model_folder, images, tmp_path):
    given = [
        "export",
        model_folder,
        "--format",
        "pt2",
        "--input",
        "floats",
        "--max-batch",
        2,
        "--out",
        tmp_path / "out",
    ]
    result = cli(*given, "--precision", "bf16", "--calibration", images, "--allow-loss", 100)
    assert "model_bf16.pt2" in result.stdout and "right on 6 validation images in place of" in result.stdout
    record = json.loads((tmp_path / "out" / "export.json").read_text())["exports"]["pt2_bf16"]
    assert record["precision"] == "bf16" and record["loss"]["allowed"] == 100 and record["loss"]["images"] == 6
    with pytest.raises(InputError, match="--calibration is for another --precision than fp32"):
        cli(*given, "--calibration", images)
    with pytest.raises(InputError, match="--precision has no meaning"):
        cli("export", model_folder, "--check", "--precision", "fp16")
