"""The overrides and the extension that recipes.md shows do what it says."""

from __future__ import annotations

import shlex

import pytest

from transferkit.recipe import load_recipe

from .pages import blocks, code, page, sections

SECTIONS = sections(page("recipes"))


@pytest.fixture
def two_stages(tmp_path):
    (text,) = [block for block in blocks(page("recipes"), "yaml") if block.startswith("name: two-stages")]
    path = tmp_path / "two-stages.yaml"
    path.write_text(text.replace("    batch_size: 16", "    batch_size: 16\n    clip: {norm: 1}"), encoding="utf-8")
    return path


def overrides():
    rows = [line.split("|")[1].strip() for line in SECTIONS["Overrides"].splitlines() if line.startswith("| `")]
    return [shlex.split(row.strip("`"))[0] for row in rows]


def test_all_of_them_together(two_stages):
    # the recipe has a bss already, so a second one needs a name
    given = [text.replace("{use: bss,", "{use: bss, name: second,") for text in overrides()]
    recipe = load_recipe(two_stages, given).recipe
    target = recipe.stage("target")
    assert len(given) == 6
    assert (recipe.stage("source").epochs, target.epochs, target.clip) == (3, 3, None)
    assert (target.optimizer.name, target.optimizer.lr, target.optimizer.head_lr_multiplier) == ("adamw", 1e-4, 10)
    assert [use.options.get("k") for use in target.regularizers] == [None, 2, 1]


def test_from_epochs_to_steps(two_stages):
    (text,) = [text for text in code(SECTIONS["Overrides"]) if "epochs=null" in text]
    target = load_recipe(two_stages, text.split()).recipe.stage("target")
    assert (target.epochs, target.steps) == (None, 100)


def test_extending(tmp_path):
    image = tmp_path / "data" / "flowers" / "train"
    for label in ("rose", "tulip"):
        (image / label).mkdir(parents=True)
        for index in range(3):
            (image / label / f"{index}.png").write_bytes(b"not looked at by name")
    first, second = blocks(page("recipes"), "yaml")[0], blocks(SECTIONS["Extending"] + "\n", "yaml")[0]
    (tmp_path / "flowers.yaml").write_text(first, encoding="utf-8")
    (tmp_path / "flowers_bss.yaml").write_text(second, encoding="utf-8")
    recipe = load_recipe(tmp_path / "flowers_bss.yaml").recipe
    assert (recipe.name, recipe.stage("target").epochs) == ("flowers-bss", 20)
    assert [use.use for use in recipe.stage("target").regularizers] == ["bss"]
