"""`transferkit plan` and `transferkit schema`: what they print, and the numbers of the step plan."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from transferkit.cli.plan import as_data, plan, recipe_lines, show, stage_lines, total_line
from transferkit.cli.schema import schema
from transferkit.data.shares import rounded_share
from transferkit.errors import InputError
from transferkit.recipe.counting import after_carving, batches_per_epoch, step_plan

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

    from transferkit.data.parts import carve_validation, per_class_fraction

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


NPZ = """\
name: arrays
model: {name: resnet18}
datasets:
  plain: {npz: a.npz}
  mapped: {npz: a.npz, splits: {val: test}}
  remapped: {from: plain, splits: {val: test}}
  two: {from: remapped, classes: [c, a]}
stages:
  - {name: target, dataset: plain, epochs: 1, batch_size: 4}
"""


@pytest.fixture
def arrays(place):
    """An npz file of 2, 4 and 6 training images, and of 1, 1 and 2 test images."""
    import numpy as np

    def split(*counts):
        return np.zeros((sum(counts), 4, 4, 3), np.uint8), np.repeat(np.arange(len(counts)), counts)

    (x_train, y_train), (x_test, y_test) = split(2, 4, 6), split(1, 1, 2)
    parts = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    np.savez(place / "a.npz", **parts, classes=["a", "b", "c"])
    return parts


@pytest.mark.parametrize(
    ("dataset", "carved", "train", "validation", "test"),
    [
        ("plain", True, {"a": 1, "b": 3, "c": 5}, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 2}),
        ("mapped", False, {"a": 2, "b": 4, "c": 6}, {"a": 1, "b": 1, "c": 2}, {"a": 1, "b": 1, "c": 2}),
        ("remapped", False, {"a": 2, "b": 4, "c": 6}, {"a": 1, "b": 1, "c": 2}, {"a": 1, "b": 1, "c": 2}),
        ("two", False, {"c": 6, "a": 2}, {"c": 2, "a": 1}, {"c": 2, "a": 1}),
    ],
)
def test_step_plan_counts_the_splits_that_the_run_opens(load, arrays, dataset, carved, train, validation, test):
    import numpy as np

    from transferkit.data.sources import open_split

    recipe = load(f"stages.target.dataset={dataset}", text=NPZ).recipe
    numbers = step_plan(recipe, recipe.stages[0])
    assert (numbers.carved, numbers.train, numbers.validation, numbers.test) == (carved, train, validation, test)
    opened = open_split(dataset, recipe.datasets, "val")
    assert (opened is None) == carved
    if opened is not None:
        counted = np.bincount(opened.labels).tolist()
        assert dict(zip(opened.classes, counted, strict=True)) == numbers.validation


def test_step_plan_of_split_names_that_a_file_has_itself(load, arrays, place):
    import numpy as np

    np.savez(place / "a.npz", x_valid=arrays["x_test"], y_valid=arrays["y_test"], classes=["a", "b", "c"], **arrays)
    recipe = load(text=NPZ).recipe
    numbers = step_plan(recipe, recipe.stages[0])
    assert not numbers.carved and numbers.validation == numbers.test == {"a": 1, "b": 1, "c": 2}


def test_step_plan_of_a_folder_with_mapped_splits(load, place):
    draw(place / "pets" / "held", cat=1, dog=3)
    recipe = load("datasets.held={from: pets, splits: {val: held}}", "stages.target.dataset=held", text=PLAIN).recipe
    assert step_plan(recipe, recipe.stages[0]).validation == {"cat": 1, "dog": 3}


def test_step_plan_of_drawn_classes_is_of_those_that_the_run_draws(load, arrays):
    from transferkit.data.sources import open_split

    recipe = load("datasets.two.classes=2", "stages.target.dataset=two", text=NPZ).recipe
    assert list(step_plan(recipe, recipe.stages[0]).train) == open_split("two", recipe.datasets, "train").classes


def test_a_split_that_is_not_there_is_said_once_where_it_is_named(errors, arrays):
    found = errors("datasets.remapped.splits={val: tests}", "stages.target.dataset=two", text=NPZ)
    assert 'datasets.remapped.splits: a.npz has no split called "tests"; did you mean "test"?' in found
    assert found.endswith("1 problem; nothing was started.")


def test_a_class_list_of_a_derived_data_set_is_looked_at(errors, arrays, place):
    found = errors("datasets.named={from: plain, labels: l.csv}", "stages.target.dataset=named", text=NPZ)
    assert "datasets.named.labels: there is no file l.csv" in found
    assert found.endswith("1 problem; nothing was started.")


@pytest.mark.real_data
def test_step_plan_of_cifar10_with_its_test_arrays_for_validation(load, real_data):
    file = real_data / "cifar10_subset" / "cifar10_subset.npz"
    recipe = load(f"datasets.pets={{folder: null, npz: {file}, splits: {{val: test}}}}", text=PLAIN).recipe
    numbers = step_plan(recipe, recipe.stages[0])
    assert (sum(numbers.train.values()), sum(numbers.validation.values()), numbers.carved) == (1000, 1000, False)


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


def test_stage_lines_of_stages_that_go_on_from_each_other(load):
    text = PLAIN + (
        "  - {name: second, dataset: pets, start: target, epochs: 2, batch_size: 4, keep: last, head_init: source,\n"
        "     carry_on: [optimizer, schedule], evaluate_at: [0, 3], evaluate_images: 2, evaluate: [pets],\n"
        "     curriculum: {use: blend, source: pets}}\n"
    )
    loaded = load("stages.target.keep=last", text=text)
    first, second = (list(stage_lines(loaded, stage)) for stage in loaded.recipe.stages)
    assert first[-1] == "  model        the weights of the last epoch"
    assert second == [
        "stage second: pets, starts from target with its optimizer and schedule",
        "  head         the source head's rows of these classes",
        "  images       train 14 (cat 6, dog 8); val 4 (cat 2, dog 2)",
        "  curriculum   blend (source: pets)",
        "  batch        4 images per step",
        "  steps        4 per epoch x 2 epochs = 8",
        "  evaluation   after every epoch (2 times); also at steps 0, 3 on 2 images of each data set; also on pets",
        "  checkpoints  after every epoch (2 times); the newest 2 and the best are kept",
        "  model        the weights of the last epoch",
        "  mix          blend",
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


def test_defaults_are_shown_when_asked_for(load, capsys):
    show(load())
    given = capsys.readouterr().out
    show(load(), every=True)
    all_of_it = capsys.readouterr().out
    assert not any(line.endswith("default") for line in given.splitlines()) and "(not set)" not in given
    assert "(not set)" in all_of_it and "--all" not in all_of_it
    assert len(given.splitlines()) < len(all_of_it.splitlines())


def test_the_total_is_of_all_stages_and_seeds(load):
    text = PLAIN + "  - {name: second, dataset: pets, start: target, epochs: 2, batch_size: 4}\n"
    # 14 images are 4 steps of at most 4: 3 and 2 epochs of them
    said = "in all: 20 steps of training on 70 images"
    assert total_line(load(text=text).recipe).startswith(f"{said}; ")
    assert total_line(load("repeat=3", text=text).recipe).startswith(f"{said}, of each of 3 seeds")


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
