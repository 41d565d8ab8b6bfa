import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from transferkit.cli.predictions import image_files
from transferkit.deploy.loaded import load
from transferkit.errors import InputError


def test_agrees_with_one_image_at_a_time(cli, model_folder, images):
    found = json.loads(cli("predict", model_folder, images, "--batch-size", 5, "--json").stdout)
    assert [one["path"] for one in found] == [str(path) for path in sorted(images.rglob("*.png"))]
    model = load(model_folder)
    for one in found:
        expected = model(model.preprocess(Image.open(one["path"]))[None]).probabilities[0]
        given = {item["class"]: item["probability"] for item in one["predictions"]}
        assert [given[name] for name in model.classes] == pytest.approx(expected.tolist(), abs=1e-5)
        assert one["predictions"][0]["probability"] >= one["predictions"][1]["probability"]


def test_table_and_csv(cli, model_folder, images):
    path = images / "val" / "ants" / "0.png"
    head, line = cli("predict", model_folder, path, "--top", 1).stdout.splitlines()
    assert head.split() == ["class", "p", "image"] and line.endswith(str(path)) and "%" in line
    rows = list(csv.DictReader(cli("predict", model_folder, path, "--csv").stdout.splitlines()))
    assert rows[0]["path"] == str(path) and rows[0]["class_1"] in ("ants", "bees")
    assert float(rows[0]["probability_1"]) + float(rows[0]["probability_2"]) == pytest.approx(1, abs=1e-5)


def test_unreadable_images_are_named_and_skipped(cli, model_folder, images):
    bad = images / "val" / "ants" / "bad.jpg"
    bad.write_text("no image")
    result = cli("predict", model_folder, images / "val", images / "gone.png", "--json")
    assert len(json.loads(result.stdout)) == 6
    assert f"cannot read {bad}" in result.stderr and "gone.png" in result.stderr
    assert "6 images predicted, 2 unreadable" in result.stderr


def test_nothing_readable_is_an_input_error(cli, model_folder, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    with pytest.raises(InputError, match="none of the 1 images"):
        cli("predict", model_folder, tmp_path / "bad.jpg", "--out", tmp_path / "out.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there are no images in"):
        cli("predict", model_folder, tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jpg", "empty"]


@pytest.mark.parametrize("name", ["out.csv", "out.json", "out.txt"])
def test_writes_a_file_in_the_format_of_its_ending(cli, model_folder, images, tmp_path, name):
    result = cli("predict", model_folder, images / "val", "--out", tmp_path / name)
    text = (tmp_path / name).read_text()
    assert result.stdout == "" and "6 images predicted" in result.stderr
    rows = {
        "out.csv": lambda: list(csv.DictReader(text.splitlines())),
        "out.json": lambda: json.loads(text),
        "out.txt": lambda: text.splitlines()[1:],
    }[name]()
    assert len(rows) == 6


def test_contradictions_and_bad_places(cli, model_folder, images, tmp_path):
    with pytest.raises(InputError, match="contradict"):
        cli("predict", model_folder, images, "--json", "--csv")
    with pytest.raises(InputError, match="cannot be written"):
        cli("predict", model_folder, images, "--out", tmp_path / "no" / "x.csv")
    assert cli("predict", model_folder, images, "--top", 0).exit_code == 2


def test_folders_are_walked_in_order_without_hidden_files(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.webp", ".hidden/x.png", "b/.y.png", "b/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = [path.relative_to(tmp_path).as_posix() for path in image_files([tmp_path])]
    assert found == ["a.webp", "b/1.png", "b/2.JPG"]
    assert list(image_files([Path("given.dat")])) == [Path("given.dat")]


def strip(path, length=1_500_000):
    Image.new("L", (1, length)).save(path)
    return path


def test_a_strip_that_would_fill_the_memory_is_named_and_skipped(cli, model_folder, images):
    bad = strip(images / "val" / "ants" / "strip.png", 60_000_000)
    result = cli("predict", model_folder, images / "val", "--json")
    assert len(json.loads(result.stdout)) == 6
    assert f"cannot read {bad}: resized for the model it would have " in result.stderr
    assert "more than 89,478,485" in result.stderr and "(as it is: 1 x 60,000,000)" in result.stderr


def test_links_are_followed_once(tmp_path):
    (tmp_path / "data" / "b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("data/b/1.png", "elsewhere/2.png"):
        (tmp_path / name).touch()
    for name, target in (("b/up", ".."), ("b/self", "."), ("c", "../elsewhere"), ("d", "../elsewhere"), ("e", "b")):
        (tmp_path / "data" / name).symlink_to(target, target_is_directory=True)
    (tmp_path / "data" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "data" / "loop").symlink_to("loop")
    found = [path.relative_to(tmp_path / "data").as_posix() for path in image_files([tmp_path / "data"])]
    assert found == ["gone.png", "b/1.png", "c/2.png"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch, model_folder, cli):
    (tmp_path / "data" / "closed").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "a.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result = cli("predict", model_folder, tmp_path / "data", "--csv")
    assert len(result.stdout.splitlines()) == 2 and "closed: it is a folder" in result.stderr


def test_cells_that_a_spreadsheet_would_run_are_text(cli, model_folder, images, monkeypatch):
    shutil.copy(images / "val" / "ants" / "0.png", images / "=HYPERLINK(1).png")
    monkeypatch.chdir(images)
    (row,) = csv.DictReader(cli("predict", model_folder, "=HYPERLINK(1).png", "--csv").stdout.splitlines())
    assert row["path"] == "'=HYPERLINK(1).png" and float(row["probability_1"]) > 0
