"""The sweep files of sweeps.md are sweeps of recipes that ship, and its commands are commands."""

from __future__ import annotations

import shutil

import pytest

from transferkit.sweeps.cells import Known, cells_of, cells_with
from transferkit.sweeps.search import draw
from transferkit.sweeps.spec import read_sweep, recipe_of

from .pages import ROOT, blocks, page

METHODS, GRID, SEARCH = blocks(page("sweeps"), "yaml")


@pytest.fixture
def write(tmp_path):
    shutil.copy(ROOT / "recipes" / "quickstart.yaml", tmp_path)

    def written(text):
        (tmp_path / "methods.yaml").write_text(text)
        sweep = read_sweep(tmp_path / "methods.yaml")
        return sweep, recipe_of(sweep, tmp_path / "methods.yaml")

    return written


def test_variants(write):
    cells = cells_of(*write(METHODS), Known())
    assert len(cells) == 15 and {cell.loaded.recipe.stage("target").epochs for cell in cells} == {6}
    assert len({cell.key for cell in cells}) == 15


def test_a_grid_beside_variants(write):
    cells = cells_of(*write(METHODS + GRID), Known())
    assert len(cells) == 15 * 9


def test_a_search(write):
    sweep, recipe = write("name: found\nrecipe: quickstart.yaml\n" + SEARCH)
    (cell,) = cells_with(sweep, recipe, "one", draw(sweep.search, 0), Known())
    assert 1e-4 <= cell.loaded.recipe.stage("target").optimizer.lr <= 1e-1


def test_the_sweep_that_ships():
    file = ROOT / "recipes" / "sweeps" / "forgetting.yaml"
    sweep = read_sweep(file)
    cells = cells_of(sweep, recipe_of(sweep, file), Known())
    assert len(cells) == 22 * 5
    for stage in ("source", "baseline", "probe"):
        assert len({cell.stage_keys[stage] for cell in cells}) == 5, "once a seed"
