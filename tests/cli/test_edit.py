"""`transferkit edit`: a recipe made of a model and one edit, run like any other; refusals before torch is imported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.plugins.two_stage_runs import recipe, run
from transferkit.api import execute
from transferkit.cli.edit import read_options
from transferkit.errors import InputError
from transferkit.model.digest import model_digest
from transferkit.model.folder import open_model
from transferkit.plugins.registry import installed
from transferkit.runs.edit_recipe import EditRequest, edit_recipe


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of two stages, the second fine-tuned from the first."""
    content = recipe(validation=0.2, fraction=0.8)
    content["analyses"] = [{"use": "lingering", "dataset": "digits", "k": 2}]
    return run(tmp_path_factory.mktemp("run"), content).run_dir


def asked(model, **more):
    options = read_options(more.pop("options", ["classes=['3']"]))
    return edit_recipe(EditRequest(str(model), more.pop("use", "leace"), options, **more), installed())


def test_what_is_not_given_is_as_in_the_run(done):
    found = asked(done).recipe
    (stage,) = found.stages
    assert (stage.name, stage.dataset, stage.fraction, stage.validation) == ("edited", "permuted", 0.8, 0.2)
    assert stage.start == str(done / "stages" / "target" / "model") and not stage.trains
    assert stage.edits[0].options == {"classes": ["3"], "dataset": "digits", "ridge": None}
    assert (found.name, found.seed, found.device, found.threads) == ("edit-leace", 0, "cpu", 1)
    assert asked(done, seed=4, threads=2).recipe.seed == 4
    assert (
        asked(done, stage="source", options=["classes=['3']", "dataset=permuted"]).recipe.stages[0].dataset == "digits"
    )


def test_with_an_audit_both_models_are_stages_with_the_source_of_the_training(done, tmp_path):
    request = EditRequest(str(done), "leace", read_options(["classes=['3']"]))
    loaded = edit_recipe(request, installed(), ["retention", "lingering"])
    assert [(one.name, len(one.edits), one.trains) for one in loaded.recipe.stages] == [
        ("before", 0, False),
        ("edited", 1, False),
    ]
    result = execute(loaded, out=tmp_path, quiet=True)
    assert list(result.analyses) == ["retention-before", "lingering-before", "retention-edited", "lingering-edited"]
    report = json.loads((result.run_dir / result.analyses["lingering-before"]).read_text())
    assert report["inputs"]["source"] == model_digest(open_model(done / "stages" / "source" / "model")[0])
    assert report["parameters"]["k"] == 2 and report["parameters"]["v_lo"] == 0.001  # as in the run, and the default
    assert report["inputs"]["target"] == model_digest(open_model(done / "stages" / "target" / "model")[0])
    head = load_file(result.run_dir / "stages" / "edited" / "model" / "source_head.safetensors")
    plain = load_file(result.run_dir / "stages" / "before" / "model" / "source_head.safetensors")
    assert not torch.equal(head["weight"], plain["weight"])


def test_an_audit_compares_with_the_baseline_of_the_run(done, tmp_path):
    """As `audit` does: the stage that its analyses name, else one from scratch on the same images."""
    copy = shutil.copytree(done, tmp_path / "run")
    shutil.copytree(copy / "stages" / "target" / "model", copy / "stages" / "control" / "model")
    told = yaml.safe_load((copy / "recipe.yaml").read_text())
    target = next(one for one in told["stages"] if one["name"] == "target")
    told["stages"].insert(0, {**target, "name": "control", "start": "scratch", "regularizers": []})
    (copy / "recipe.yaml").write_text(yaml.safe_dump(told))

    def recipe_now():
        request = EditRequest(str(copy), "leace", read_options(["classes=['3']"]))
        return edit_recipe(request, installed(), ["lingering"]).recipe

    found = recipe_now()
    assert [one.name for one in found.stages] == ["baseline", "before", "edited"]
    assert found.stages[0].start == str(copy / "stages" / "control" / "model") and not found.stages[0].edits
    assert [one.baseline for one in found.analyses] == ["baseline", "baseline"]
    told["analyses"][0]["baseline"] = "source"
    (copy / "recipe.yaml").write_text(yaml.safe_dump(told))
    assert recipe_now().stages[0].start == str(copy / "stages" / "source" / "model")
    shutil.rmtree(copy / "stages" / "source" / "model")  # not kept: then there is nothing to compare with
    assert [one.baseline for one in recipe_now().analyses] == [None, None]


def test_the_verb_writes_a_run_that_can_be_resumed(done, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = cli("edit", done, "--use", "leace", "--set", "classes=['3']", "--json", "--quiet")
    content = json.loads(shown.stdout)
    assert content["status"] == "done" and list(content["stages"]) == ["edited"]
    (record,) = content["stages"]["edited"]["edits"]
    assert record["use"] == "leace" and record["notes"]
    page = (tmp_path / content["run_dir"] / "report.html").read_text()
    assert "top-1 before" in page and "unseen images" in page
    assert cli("resume", content["run_dir"], "--quiet").exit_code == 0


def test_a_model_outside_a_run_needs_its_images(done, cli, tmp_path):
    shutil.copytree(done / "stages" / "target" / "model", tmp_path / "alone")
    with pytest.raises(InputError, match="also give --target-data DIR"):
        asked(tmp_path / "alone")
    with pytest.raises(InputError, match="does not exist"):
        asked(tmp_path / "alone", target_data="nowhere")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--use", "leace", "--set", "classes"], "write OPTION=VALUE"),
        (["--use", "leece"], 'no edit called "leece"'),
        (["--use", "leace", "--set", "classes=[]"], "classes"),
        (["--use", "leace", "--set", "clases=[a]"], "no such option"),
        (["--use", "leace", "--set", "classes=[a]", "--set", "dataset=nothing"], "nothing"),
        (["--use", "leace", "--set", "classes=[a]", "--stage", "none"], '"none"'),
    ],
)
def test_wrong_input_is_told_before_torch_is_imported(done, arguments, text):
    code = (
        "import sys\nfrom transferkit.cli import main\n"
        f"try: main({['edit', str(done), *arguments]!r})\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "2 False" and text in found.stderr
