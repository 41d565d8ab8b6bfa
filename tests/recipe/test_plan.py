"""`transferkit plan` and `transferkit schema`: what they print, and the numbers of the step plan."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from transferkit.cli.plan import as_data, plan, recipe_lines, show, stage_lines
from transferkit.cli.schema import schema
from transferkit.data.shares import rounded_share
from transferkit.errors import InputError
from transferkit.recipe.step_plan import after_carving, batches_per_epoch, step_plan

from .small_recipes import PLAIN, draw


@pytest.mark.parametrize(
    ("images", "batch", "mixed", "batches"),
    [(8, 4, False, 2), (9, 4, False, 2), (9, 4, True, 3), (10, 4, False, 3), (3, 4, False, 1), (1, 4, False, 1)],
)
def test_a_last_batch_of_one_image_joins_the_one_before(images, batch, mixed, batches):
    assert batches_per_epoch(images, batch, mixed=mixed) == batches


def test_shares_are_those_of_the_data_part():
    """The plan counts without NumPy what the data part chooses with it."""
    import numpy as np

    from transferkit.data.subsets import carve_validation, per_class_fraction

    for count in (2, 3, 7, 10, 50, 99):
        for share in (0.05, 0.1, 0.29, 0.5, 0.9):
            labels = np.zeros(count, dtype=np.int64)
            assert after_carving({"a": count}, share) == {"a": len(carve_validation(labels, share, 0)[0])}
            if rounded_share(share, count):
                assert rounded_share(share, count) == len(per_class_fraction(labels, share, 0))


def test_step_plan(load):
    loaded = load("stages.target.accumulate=2", "stages.target.evaluate_every=2")
    numbers = step_plan(loaded.recipe, loaded.recipe.stages[0])
    assert numbers.train == {"cat": 6, "dog": 8} and numbers.validation == {"cat": 2, "dog": 2}
    assert (numbers.batches_per_epoch, numbers.steps_per_epoch, numbers.total_steps) == (4, 2, 6)
    assert (numbers.effective_batch, numbers.evaluations, numbers.checkpoints) == (8, 2, 3)


def test_step_plan_of_a_part_with_a_carved_split(load, place):
    shutil.rmtree(place / "pets" / "val")
    draw(place / "pets" / "train", cat=20, dog=40)
    recipe = load("stages.target.fraction=0.5", "stages.target.validation=0.2", text=PLAIN).recipe
    numbers = step_plan(recipe, recipe.stages[0])
    assert numbers.carved and numbers.validation == {"cat": 4, "dog": 8}
    assert numbers.train == {"cat": 8, "dog": 16}


def test_step_plan_in_steps(load):
    recipe = load("stages.target.epochs=null", "stages.target.steps=10", text=PLAIN).recipe
    numbers = step_plan(recipe, recipe.stages[0])
    assert (numbers.steps_per_epoch, numbers.total_steps, numbers.epochs) == (4, 10, 2.5)
    assert numbers.evaluations == math.ceil(2.5)


def test_step_plan_of_the_drawn_world_and_of_npz(load, place):
    import numpy as np

    labels = [0, 0, 0, 1, 1, 1, 1]
    np.savez(place / "a.npz", x_train=np.zeros((7, 4, 4, 3), np.uint8), y_train=labels, classes=["a", "b"])
    recipe = load("datasets.pets={folder: null, npz: a.npz}", text=PLAIN).recipe
    assert step_plan(recipe, recipe.stages[0]).train == {"a": 2, "b": 3}
    recipe = load("datasets.pets={folder: null, world: {kind: target, train: 5, val: 2}}", text=PLAIN).recipe
    assert step_plan(recipe, recipe.stages[0]).train == {"sign": 5, "wheel": 5}


def test_what_cannot_be_counted_is_left_open(load):
    loaded = load("datasets.pets={folder: null, hf: owner/pets}", text=PLAIN)
    numbers = step_plan(loaded.recipe, loaded.recipe.stages[0])
    assert (numbers.train, numbers.total_steps, numbers.epochs) == (None, None, 3.0)
    assert "  images       known once the data set is opened" in list(stage_lines(loaded, loaded.recipe.stages[0]))


def test_stage_lines(load):
    loaded = load("stages.target.accumulate=2")
    assert list(stage_lines(loaded, loaded.recipe.stages[0])) == [
        "stage target: pets, starts from pretrained",
        "  images       train 14 (cat 6, dog 8); val 4 (cat 2, dog 2)",
        "  batch        4 images x 2 = 8 per step",
        "  steps        2 per epoch x 3 epochs = 6",
        "  evaluation   after every epoch (3 times)",
        "  checkpoints  after every epoch (3 times); the newest 2 and the best are kept",
        "  anchors      pull",
        "  penalty      spectral",
    ]


def test_recipe_lines_have_values_and_origins(load):
    lines = {key.strip(): (value, origin) for key, value, origin in recipe_lines(load("stages.second.epochs=7"))}
    assert ("7", "command line") in lines.values()
    assert lines["k"] == ("2", "recipe.yaml:16:65")
    assert lines["seed"] == ("0", "default")


def test_show(load, capsys):
    show(load())
    text = capsys.readouterr().out
    assert "recipe.yaml:11:13" in text and "penalty      spectral" in text
    assert "analyses, in order: memory" in text


def test_plan_as_json(place, capsys):
    (place / "plain.yaml").write_text(PLAIN)
    plan(Path("plain.yaml"), ["stages.target.epochs=4"], json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["recipe"]["stages"][0]["epochs"] == 4
    assert printed["origins"]["stages.target.epochs"] == "command line: stages.target.epochs=4"
    assert printed["stages"]["target"]["total_steps"] == 16


def test_as_data_has_the_plugins_in_call_order(load):
    assert as_data(load())["stages"]["target"]["plugins"] == {
        "check": ["spectral"],
        "anchors": ["pull"],
        "penalty": ["spectral"],
    }


def test_a_broken_recipe_prints_nothing(place, capsys):
    (place / "plain.yaml").write_text(PLAIN)
    with pytest.raises(InputError) as refused:
        plan(Path("plain.yaml"), ["sed=4", "stages.target.epoch=4"])
    assert refused.value.exit_code == 2
    assert str(refused.value).endswith("2 problems; nothing was started.")
    assert capsys.readouterr().out == ""


def test_schema_command(tmp_path, capsys):
    schema()
    printed = json.loads(capsys.readouterr().out)
    schema(tmp_path / "schema.json")
    assert json.loads((tmp_path / "schema.json").read_text()) == printed
    with pytest.raises(InputError, match="cannot write"):
        schema(tmp_path / "no" / "schema.json")
