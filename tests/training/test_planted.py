"""The record of a stage's corruptions: a table, pictures, and TensorBoard."""

from __future__ import annotations

import csv
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.plugins.corruption_world import samples
from transferkit.errors import InputError
from transferkit.reporting.html import write_report
from transferkit.training.pictures import corruption_pairs, record_corruptions

SQUARES = ("correlated_patch", {"ratio": 0.5})
BALL = ("tennis_ball", {})


class Writer:
    def __init__(self):
        self.images = {}

    def add_image(self, tag, image, step, dataformats="CHW"):
        self.images[tag] = (np.asarray(image), dataformats)


def accelerator(main=True):
    writer = Writer()
    tracker = SimpleNamespace(name="tensorboard", writer=writer)
    return SimpleNamespace(is_main_process=main, trackers=[tracker], writer=writer)


def test_the_table_the_pictures_and_tensorboard(tmp_path):
    found = accelerator()
    given = {
        "train": samples(SQUARES, name="squares"),
        "val": samples(SQUARES, name="squares", split="val"),
        "clean": samples(name="clean", split="val"),
        "balls": samples(BALL, name="balls", split="val"),
        "again": samples(SQUARES, name="squares", split="val"),
    }
    record_corruptions(tmp_path / "stage", found, given)
    rows = list(csv.DictReader((tmp_path / "stage" / "corruptions.csv").open(newline="", encoding="utf-8")))
    assert len(rows) == 20 + 20 + 40
    own = ["dataset", "split", "id", "class", "corruption", "new_class"]
    assert list(rows[0]) == [*own, "x", "y", "side", "shown", "colour", "size"]
    assert {row["dataset"] for row in rows} == {"squares", "balls"}
    names = sorted(path.name for path in (tmp_path / "stage").iterdir())
    assert names == ["corruptions-balls.png", "corruptions-squares.png", "corruptions.csv", "corruptions.sha256"]
    assert set(found.writer.images) == {"corruptions/squares", "corruptions/balls"}
    shown, order = found.writer.images["corruptions/squares"]
    assert order == "HWC" and np.array_equal(shown, np.asarray(Image.open(tmp_path / "stage/corruptions-squares.png")))


def test_once_only_on_the_main_process_and_only_where_something_is_planted(tmp_path):
    record_corruptions(tmp_path, accelerator(main=False), {"train": samples(SQUARES)})
    record_corruptions(tmp_path, accelerator(), {"train": samples(), "val": samples(split="val")})
    record_corruptions(tmp_path, accelerator(), {"train": samples(("tennis_ball", {"ratio": 0.01}))})  # of no image
    assert not list(tmp_path.iterdir())
    record_corruptions(tmp_path, accelerator(), {"train": samples(SQUARES)})
    before = (tmp_path / "corruptions.csv").read_bytes()
    again = accelerator()
    record_corruptions(tmp_path, again, {"train": samples(BALL)})
    assert (tmp_path / "corruptions.csv").read_bytes() == before and not again.writer.images


@pytest.mark.parametrize("hurt", ["corruptions.csv", "corruptions.sha256"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[::-1]])
def test_a_damaged_record_is_written_again(tmp_path, hurt, damage):
    record_corruptions(tmp_path, accelerator(), {"train": samples(SQUARES)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / hurt).write_bytes(damage(before[hurt]))
    record_corruptions(tmp_path, accelerator(), {"train": samples(SQUARES)})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_pairs_are_clean_above_and_corrupted_below():
    made = samples(("correlated_patch", {"ratio": 0.1}), split="val")
    pairs = np.asarray(corruption_pairs(made))
    chosen = np.flatnonzero(made.planted["correlated_patch"])
    assert len(chosen) == 4 and pairs.shape == (2 * 64 + 2, 4 * 66 - 2, 3)  # 32 px, twice as large
    for column, index in enumerate(chosen):
        above, below = pairs[0:64, 66 * column :][:, :64], pairs[66:130, 66 * column :][:, :64]
        assert np.array_equal(above[::2, ::2], np.asarray(made.clean().picture(int(index))))
        assert np.array_equal(below[::2, ::2], np.asarray(made.picture(int(index))))
        assert (above != below).any(axis=2).sum() <= 64 == 8 * 8


def test_pairs_of_large_images_are_small():
    pairs = corruption_pairs(samples(BALL, split="val", size=224))
    assert pairs.size == (8 * 82 - 2, 2 * 82 - 2)
    with pytest.raises(ValueError, match="nothing is planted"):
        corruption_pairs(samples())


def test_options_that_do_not_fit_are_refused_before_training(tmp_path):
    with pytest.raises(InputError, match="a patch of 99 pixels does not fit"):
        record_corruptions(tmp_path, accelerator(), {"train": samples(("correlated_patch", {"side": 99}))})
    assert not list(tmp_path.iterdir())


def test_the_report_shows_them(tmp_path):
    stage = tmp_path / "stages" / "erode"
    given = {"train": samples(SQUARES, name="squares"), "val": samples(BALL, name="balls", split="val")}
    record_corruptions(stage, accelerator(), given)
    (tmp_path / "result.json").write_text('{"status": "running", "stages": {"erode": {}}}')
    text = write_report(tmp_path).read_text()
    assert "Planted corruptions" in text and text.count("data:image/png;base64,") == 2
    assert '<td>squares</td><td>train</td><td>correlated_patch</td><td class="n">20</td>' in text
    assert "balls: without its corruptions above, with them below" in text


def test_a_run_records_what_is_planted_in_every_split_it_uses(run, tiny_npz):
    datasets = {
        "tiny": {"npz": str(tiny_npz)},
        "squares": {"from": "tiny", "corruptions": [{"use": "correlated_patch", "ratio": 0.5, "splits": ["train"]}]},
        "conflict": {"from": "squares", "corruptions": [{"use": "correlated_patch", "shift": 1, "splits": ["val"]}]},
    }
    result = run(top={"datasets": datasets}, dataset="squares", evaluate=["tiny", "conflict"], epochs=1)
    stage = result.run_dir / "stages" / "target"
    rows = list(csv.DictReader((stage / "corruptions.csv").open(newline="", encoding="utf-8")))
    counts = Counter((row["dataset"], row["split"]) for row in rows)
    assert counts == {("squares", "train"): 15, ("conflict", "val"): 12}
    assert all(row["shown"] != row["class"] for row in rows if row["dataset"] == "conflict")
    assert (stage / "corruptions-squares.png").is_file() and (stage / "corruptions-conflict.png").is_file()
    assert "Planted corruptions" in (result.run_dir / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["gren"]}, 'no class called "gren"; did you mean "green"'),
        ({"side": 40}, "a patch of 40 pixels does not fit in an image of 32 x 32"),
    ],
)
def test_options_that_only_the_data_can_refute_end_the_run_at_once(run, tiny_npz, options, message):
    datasets = {"tiny": {"npz": str(tiny_npz), "corruptions": [{"use": "correlated_patch", **options}]}}
    with pytest.raises(InputError, match=message):
        run(top={"datasets": datasets}, epochs=1)


def test_a_picture_that_cannot_be_read_is_found_when_the_recipe_is_read(run, tiny_npz):
    use = {"use": "correlated_patch", "image": "gone.png"}
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        run(top={"datasets": {"tiny": {"npz": str(tiny_npz), "corruptions": [use]}}}, epochs=1)
