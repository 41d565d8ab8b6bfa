"""corruptions.md: the recipe is valid, the example keeps its promises, and what ships is there."""

from __future__ import annotations

import numpy as np
import pytest

from transferkit.data.planting import OWN_COLUMNS
from transferkit.plugins.registry import installed
from transferkit.recipe import load_recipe
from transferkit.testing import check_plugin

from .pages import blocks, classes, code, page, sections

PAGE = page("corruptions")


def test_the_recipe_is_valid_and_says_what_the_text_says(tmp_path):
    pixels, labels = np.zeros((4, 32, 32, 3), np.uint8), np.arange(4) % 2
    np.savez(tmp_path / "cifar10.npz", x_train=pixels, y_train=labels, x_val=pixels, y_val=labels)
    (tmp_path / "recipe.yaml").write_text(blocks(PAGE, "yaml")[0], encoding="utf-8")
    loaded = load_recipe(tmp_path / "recipe.yaml")
    (conflict,) = loaded.corruptions("conflict")
    (alone,) = loaded.corruptions("alone")
    assert conflict.instance.shift == 1 and alone.instance.alone
    assert not list(loaded.corruptions("clean"))
    assert set(loaded.recipe.stage("erode").evaluate) <= code(PAGE)


def test_the_example_keeps_the_promises_of_a_plugin():
    ((cls,),) = [classes(block) for block in blocks(PAGE, "python")]
    check_plugin(cls)


@pytest.mark.parametrize("name", installed().names("corruption"))
def test_every_corruption_that_ships_is_introduced(name):
    assert name in code(PAGE) and f"../plugins/transferkit_{name}/README.md" in PAGE


def test_every_column_of_a_manifest_is_explained():
    assert set(OWN_COLUMNS) <= code(sections(PAGE)["The manifest"])
