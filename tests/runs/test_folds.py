"""Cross-validation: every image is held out once, from a model that saw nothing that belongs to it; exact resumes."""

from __future__ import annotations

import csv
import json
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

import transferkit
from transferkit.api import resume
from transferkit.cli.export_images import _of_run
from transferkit.cli.plan import stage_lines, total_line
from transferkit.cli.summary import out_of_fold_lines
from transferkit.data.parts import StageImages
from transferkit.errors import InputError, Interrupted
from transferkit.recipe import load_recipe
from transferkit.recipe.counting import step_plan
from transferkit.recipe.folding import fold_of
from transferkit.reporting.seeds import stages_over_seeds
from transferkit.runs.comparison import compare_runs
from transferkit.runs.record import read_run
from transferkit.runs.replay import replay
from transferkit.statistics import mean_over_seeds
from transferkit.training.trainer import Trainer


def pictures(root, groups=9, splits=("train",)):
    """Images NAME_i of patients: reddish, or bluish, in unequal numbers."""
    rng = np.random.default_rng(0)
    for split in splits:
        for group in range(groups):
            folder = root / split / ("blue", "red")[group % 2]
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(1 + group % 3):
                pixels = rng.integers(0, 100, (16, 16, 3))
                pixels[:, :, 2 - 2 * (group % 2)] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"p{group}_{index}.png")


def recipe(folder, folds=3, **data):
    stage = {
        "name": "target", "start": "scratch", "dataset": "d", "epochs": 2, "batch_size": 4, "workers": 0,
        "optimizer": {"name": "momentum", "lr": 0.02},
    }  # fmt: skip
    return {
        "name": "crossed", "device": "cpu", "threads": 1, "folds": folds,
        "model": {"name": "test_resnet", "preprocessing": {"input_size": 16}},
        "datasets": {"d": {"folder": str(folder), **data}},
        "stages": [stage],
    }  # fmt: skip


@pytest.mark.parametrize("group", [None, r"(p\d+)_"])
@pytest.mark.parametrize("folds", [2, 3, 4])
def test_every_image_is_in_exactly_one_validation_part(tmp_path, group, folds):
    pictures(tmp_path, groups=12, splits=("train", "val"))
    seen = []
    for fold in range(1, folds + 1):
        loaded = load_recipe(recipe(tmp_path, folds, group=group) | {"fold": fold, "seed": 4})
        stage = loaded.recipe.stages[0]
        images = StageImages(stage, loaded.recipe.datasets, 4, fold=fold_of(loaded.recipe, stage))
        train, val = images.part("d", "train"), images.part("d", "val")
        assert sorted([*train.indices, *val.indices]) == list(range(len(images.train)))
        if group is not None:
            groups = np.array(images.train.groups)
            assert not set(groups[train.indices]) & set(groups[val.indices])
        plan = step_plan(loaded.recipe, stage)
        labels = images.train.labels
        assert plan.validation == {
            name: int((labels[val.indices] == i).sum()) for i, name in enumerate(("blue", "red"))
        }
        assert sum(plan.train.values()) == len(train.indices)
        seen += val.indices.tolist()
    assert sorted(seen) == list(range(len(images.train)))


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """A finished run of three folds."""
    root = tmp_path_factory.mktemp("crossed")
    pictures(root / "data")
    content = recipe(root / "data", group=r"(p\d+)_")
    return transferkit.run(content, out=root / "runs", quiet=True), content


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_answers_of_all_folds_are_kept(crossed):
    run, _ = crossed
    found = run.content["out_of_fold"]["target"]
    table = rows(run.run_dir / found["file"])
    assert len(table) == len({row["id"] for row in table}) == found["images"] == 18
    shares = []
    for fold in (1, 2, 3):
        own = [row for row in table if row["fold"] == str(fold)]
        one = json.loads((run.run_dir / f"repeats/fold-{fold}/result.json").read_text())
        right = [row["label"] == row["prediction"] for row in own]
        assert one["fold"] == fold
        assert one["stages"]["target"]["evaluations"]["val"]["top1"] == pytest.approx(sum(right) / len(right))
        shares.append(sum(right) / len(right))
    for row in table:
        assert row["label"] == row["id"].partition("/")[0]
        assert float(row["p(blue)"]) + float(row["p(red)"]) == pytest.approx(1, abs=1e-6)
        assert row["prediction"] == max(("blue", "red"), key=lambda name: float(row[f"p({name})"]))
    assert found["top1"] == pytest.approx(sum(row["label"] == row["prediction"] for row in table) / 18)
    over, expected = found["over_folds"], mean_over_seeds(shares)
    assert (over["mean"], over["low"], over["high"]) == pytest.approx((expected.value, expected.low, expected.high))
    (line,) = out_of_fold_lines(run.content)
    assert line.endswith("each image's answer is in out_of_fold/target.csv")
    text = "".join(stages_over_seeds(read_run(run.run_dir)))
    assert "over 3 folds" in text and "fold 2" in text and "repeats/fold-2/report.html" in text and "seed" not in text


def test_one_fold_alone_is_the_one_of_all(crossed, tmp_path):
    run, content = crossed
    alone = transferkit.run(content | {"fold": 2}, out=tmp_path, quiet=True)
    weights = "stages/target/model/model.safetensors"
    assert (alone.run_dir / weights).read_bytes() == (run.run_dir / "repeats/fold-2" / weights).read_bytes()
    same = "stages/target/out_of_fold.csv"
    assert (alone.run_dir / same).read_bytes() == (run.run_dir / "repeats/fold-2" / same).read_bytes()


def test_a_file_of_fewer_bits_is_measured_on_the_images_of_its_fold(crossed):
    run, _ = crossed
    fold = run.run_dir / "repeats/fold-2/stages/target"
    source, held_out = _of_run(fold / "model")[1]
    with (fold / "out_of_fold.csv").open(newline="") as file:
        wanted = {row["id"] for row in csv.DictReader(file)}
    assert {source.ids[index] for index in held_out} == wanted


def test_what_was_stopped_in_a_fold_goes_on_to_the_same_table(crossed, tmp_path, monkeypatch):
    run, content = crossed
    before, steps = Trainer.save_or_stop, [0]

    def stop(self):
        steps[0] += 1
        if steps[0] == 9:  # in the second fold
            self.stop.number = signal.SIGTERM
        return before(self)

    monkeypatch.setattr(Trainer, "save_or_stop", stop)
    with pytest.raises(Interrupted):
        transferkit.run(content, out=tmp_path, quiet=True)
    monkeypatch.undo()
    (folder,) = (tmp_path / "crossed").iterdir()
    assert not (folder / "repeats/fold-3").exists()
    done = resume(folder, quiet=True)
    table = "out_of_fold/target.csv"
    assert (done.run_dir / table).read_bytes() == (run.run_dir / table).read_bytes()
    assert done.content["out_of_fold"] == run.content["out_of_fold"]


def test_runs_of_folds_are_compared_fold_by_fold(crossed, tmp_path):
    run, content = crossed
    other = content | {"stages": [{**content["stages"][0], "epochs": 1}]}
    again = transferkit.run(other, out=tmp_path, quiet=True)
    found = compare_runs([run.run_dir, again.run_dir])
    assert [sorted(row.values) for row in found.rows] == [[1, 2, 3], [1, 2, 3]]
    with pytest.raises(InputError, match=r"holds several folds: name one, .*/repeats/fold-1"):
        replay(run.run_dir, step=0, display=None, stop=None)


def test_the_plan_shows_them(tmp_path):
    pictures(tmp_path, splits=("train", "val"))
    loaded = load_recipe(recipe(tmp_path))
    lines = list(stage_lines(loaded, loaded.recipe.stages[0]))
    assert "  images       train 12 (blue 6, red 6); val 6 (blue 4, red 2), fold 1 of 3 of train" in lines
    assert "  aside        val 18 (blue 10, red 8): folds validate on parts of train" in lines
    assert ", of each of 3 folds;" in total_line(loaded.recipe)


WRONG = [
    ({"repeat": 2}, r"repeat.*repeats with other seeds, and folds with other images"),
    ({"folds": None, "fold": 1}, "fold.*is one of folds, and there are none"),
    ({"fold": 4}, "fold.*is 4, and there are 3 folds"),
    ({"folds": 1}, "folds.*2"),
    ({"folds": 20}, r'folds.*"target" has 18 images for 20 folds'),
]


@pytest.mark.parametrize(("change", "wanted"), WRONG)
def test_what_contradicts_folds(tmp_path, change, wanted):
    pictures(tmp_path)
    with pytest.raises(InputError, match=wanted):
        load_recipe(recipe(tmp_path) | change)


def test_a_class_that_a_fold_would_be_trained_without(tmp_path):
    pictures(tmp_path)
    for path in sorted((tmp_path / "train" / "red").iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match='the class "red" has one image, and its fold would be trained without it'):
        load_recipe(recipe(tmp_path))
    shutil.copy(next((tmp_path / "train" / "red").iterdir()), tmp_path / "train" / "red" / "p1_9.png")
    assert load_recipe(recipe(tmp_path))
    with pytest.raises(InputError, match='the class "red" has all its images in one group'):
        load_recipe(recipe(tmp_path, group=r"(p\d+)_"))


def test_only_stages_on_the_same_images_have_folds(tmp_path):
    pictures(tmp_path)
    content = recipe(tmp_path)
    content["datasets"] |= {
        "drawn": {"world": {"kind": "target", "train": 4, "val": 2, "size": 16}},
        "e": {"from": "d"},
    }
    last = content["stages"][0]
    content["stages"] = [{**last, "name": "one", "dataset": "drawn"}, {**last, "name": "two", "dataset": "e"}, last]
    found = load_recipe(content).recipe
    assert [fold_of(found, stage) for stage in found.stages] == [None, (0, 3), (0, 3)]
    content["datasets"]["e"] = {"from": "d", "classes": ["red", "blue"]}
    with pytest.raises(InputError, match='has other classes than "d"'):
        load_recipe(content)
