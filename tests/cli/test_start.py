"""The first hour: what comes with transferkit, a recipe for one's own folder, and words that were meant otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from transferkit import __version__
from transferkit.cli.verbs import usage_hint
from transferkit.errors import InputError
from transferkit.recipe import load_recipe
from transferkit.recipe.shipped import recipes_folder, shipped, shipped_recipe
from transferkit.recipe.starter import look


def make_folder(root, **classes):
    """root/train/CLASS/N.png, so many of each class."""
    for name, count in classes.items():
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (8, 8), (index % 255, 0, 0)).save(folder / f"{index}.png")
    return root


def test_every_recipe_has_a_purpose_of_one_sentence():
    for name, purpose in shipped().items():
        assert 20 < len(purpose) < 400, name
        assert "PATH" not in purpose and "transferkit run" not in purpose, name


@pytest.mark.parametrize("name", ["quickstart", "permuted_digits"])
def test_a_copy_says_the_same(cli, tmp_path, name):
    cli("recipes", name, "--out", tmp_path)
    original, copy = load_recipe(shipped_recipe(name)), load_recipe(tmp_path / f"{name}.yaml")

    def said(loaded, folder):
        return str(loaded.data()).replace(str(folder), "")

    assert said(copy, tmp_path) == said(original, recipes_folder())


def test_what_a_recipe_extends_comes_along(cli, tmp_path):
    cli("recipes", "cub/l2_sp", "--out", tmp_path)
    copied = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.yaml")}
    assert copied == {"cub/l2_sp.yaml", "cub.yaml", "bss_paper.yaml", "methods/l2_sp.yaml"}


def test_a_copy_overwrites_nothing(cli, tmp_path):
    (tmp_path / "cub.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"cub\.yaml is there already"):
        cli("recipes", "cub/l2_sp", "--out", tmp_path)
    assert (tmp_path / "cub.yaml").read_text() == "mine"
    assert not (tmp_path / "cub").exists()


def test_an_unknown_recipe_is_answered_with_a_near_one(cli):
    with pytest.raises(InputError, match='did you mean "quickstart"'):
        cli("recipes", "quikstart")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ({"a": 40, "b": 40}, ["validation: 0.2", "batch_size: 8", "epochs: 40"]),
        ({"a": 400, "b": 60}, ["balance: loss", '"a" has 7 times as many images as "b"']),
    ],
)
def test_a_first_recipe_suits_the_folder_and_plans(cli, tmp_path, classes, said):
    folder = make_folder(tmp_path / "my flowers, 2026", **classes)
    cli("init", folder, "--out", tmp_path / "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text()
    assert all(part in text for part in said), text
    loaded = load_recipe(tmp_path / "mine.yaml")
    assert loaded.recipe.name == "my-flowers-2026"
    assert loaded.recipe.datasets["images"].folder == str(folder)


def test_a_val_folder_is_used(cli, images, tmp_path):
    cli("init", images, "--out", tmp_path / "mine.yaml")
    assert "validation" not in (tmp_path / "mine.yaml").read_text()


def test_nothing_is_written_over_or_for_no_task(cli, tmp_path):
    folder = make_folder(tmp_path / "one", a=3)
    with pytest.raises(InputError, match="a task needs two or more"):
        cli("init", folder, "--out", tmp_path / "one.yaml")
    assert not (tmp_path / "one.yaml").exists()
    (tmp_path / "there.yaml").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        cli("init", folder, "--out", tmp_path / "there.yaml")


def test_what_few_images_mean_is_said(cli, tmp_path):
    cli("init", make_folder(tmp_path / "tiny", a=5, bb=5), "--out", tmp_path / "tiny.yaml")
    text = (tmp_path / "tiny.yaml").read_text()
    assert "Fewer than 10 images are of a, bb" in text
    assert "# 1 step each, 40 in all" in text and "small, as there are few images" in text
    assert "one of these 2 is 50 points of accuracy" in text


def test_a_folder_too_far_up_leads_to_the_right_one(tmp_path):
    make_folder(tmp_path, a=2, b=2)
    (tmp_path / "up" / "further").mkdir(parents=True)
    right = (tmp_path / "train").rename(tmp_path / "up" / "further" / "photographs")
    with pytest.raises(InputError) as refused:
        look(tmp_path / "up")
    assert str(refused.value).endswith(f"perhaps you mean {right}")
    assert look(right).train == {"a": 2, "b": 2}


def test_the_version_is_printed(cli):
    assert cli("--version").stdout == f"transferkit {__version__}\n"


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("No such command 'train'.", '"run"'),
        ("No such command 'preditc'.", '"predict"'),
        ("No such command 'tran'.", '"run"'),
        ("No such command 'open'.", "open the report.html"),
        ("No such command 'runs/1/report.html'.", "is a page: open it in a browser"),
        ("No such command 'my flowers.yaml'.", "transferkit run 'my flowers.yaml'"),
        ("No such option: --epochs", "stages.NAME.epochs=…"),
        ("No such option: --batch-size", "stages.NAME.batch_size=…"),
        ("No such option: --seed", " seed=…"),
        ("No such command 'zzzzzz'.", None),
    ],
)
def test_what_was_meant(message, hint):
    found = usage_hint(message, {"run", "predict", "plan"})
    assert found is None if hint is None else hint in (found or "")


def test_the_hint_is_printed_and_the_exit_code_is_that_of_wrong_input():
    done = subprocess.run([sys.executable, "-m", "transferkit", "train"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'Did you mean "run"?' in done.stderr
