"""lr: a suggestion that is typed as it is printed, and nothing that was given is changed."""

from __future__ import annotations

import hashlib
import json

import pytest
import yaml

from tests.cli.conftest import COLOURS
from transferkit.errors import InputError

FAST = ("--steps", "24", "--check", "4", "--low", "1e-5", "--high", "10")


def digests(folder):
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def recipe(tmp_path, model_folder, images):
    content = {
        "name": "r", "device": "cpu", "datasets": {"d": {"folder": str(images)}},
        "model": {"name": f"local-dir:{model_folder}"},
        "stages": [{"name": "target", "dataset": "d", "epochs": 2, "batch_size": 4, "workers": 0,
                    "optimizer": {"name": "sgd", "lr": 0.1, "head_lr_multiplier": 10}}],
    }  # fmt: skip
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "r.yaml"


def test_it_suggests_checks_and_draws_and_changes_nothing(cli, recipe, model_folder, tmp_path):
    before = digests(model_folder) | digests(recipe.parent)
    found = json.loads(cli("lr", recipe, *FAST, "--out", tmp_path / "lr.svg", "--json").stdout)
    picture = tmp_path / "lr.svg"
    assert "learning rate" in picture.read_text()
    picture.unlink()
    assert digests(model_folder) | digests(recipe.parent) == before
    assert len(found["rates"]) == len(found["losses"]) <= 24 and found["rates"][0] == pytest.approx(1e-5)
    assert len(COLOURS) == 2 and found["losses"][0] == pytest.approx(0.69, abs=0.6)
    tried = [one["lr"] for one in found["checked"]]
    assert tried == pytest.approx([found["from_curve"]["rate"] * factor for factor in (1 / 3, 1, 3)])
    best = min((one for one in found["checked"] if one["loss"] is not None), key=lambda one: one["loss"])
    assert found["suggested"] == best["lr"] and found["limit"] > 0
    again = json.loads(cli("lr", recipe, *FAST, "--json").stdout)
    assert again == found


def test_the_answer_is_typed_as_it_stands(cli, recipe):
    shown = cli("lr", recipe, *FAST, "stages.target.optimizer.lr=0.5").stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("stages.target.optimizer.lr=")]
    from transferkit.recipe import load_recipe

    assert load_recipe(recipe, [line]).recipe.stages[0].optimizer.lr == float(line.partition("=")[2])
    assert "The head is stable with sgd below" in shown


def test_a_model_and_a_folder_of_images(cli, model_folder, images):
    target = [f"stages.target.{one}" for one in ("workers=0", "batch_size=4", "optimizer.name=adamw")]
    few = ("--steps", "12", "--check", "0")
    shown = cli("lr", model_folder, "--data", images, "device=cpu", *target, *few).stdout
    assert "The head is stable" not in shown  # Adam's steps are scaled


@pytest.mark.parametrize(("arguments", "words"), [
    (["--low", "1", "--high", "0.1"], "from a small one above 0 to a larger one"),
    (["--stage", "targt"], 'no stage called "targt"'),
    (["--out", "lr.jpg"], r"ends in \.svg"),
])  # fmt: skip
def test_wrong_input_is_answered_before_anything_is_trained(cli, recipe, arguments, words):
    with pytest.raises(InputError, match=words):
        cli("lr", recipe, *arguments)


def test_what_is_no_recipe_and_a_stage_that_starts_from_another(cli, recipe, model_folder):
    for given in (model_folder, "resnet50"):
        with pytest.raises(InputError, match="--data FOLDER"):
            cli("lr", given)
    content = yaml.safe_load(recipe.read_text())
    content["stages"].append({**content["stages"][0], "name": "second", "start": "target"})
    recipe.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="the stages target, second: say which"):
        cli("lr", recipe)
    with pytest.raises(InputError, match='starts from "target", whose model is not there yet'):
        cli("lr", recipe, "--stage", "second")
