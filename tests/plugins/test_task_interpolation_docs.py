"""The page on curricula: its recipe is valid, its numbers are right, its example trains."""

from __future__ import annotations

import re
import types

import numpy as np
import pytest
import yaml
from transferkit_task_interpolation.lams import Plan, target_counts

import transferkit
from tests.docs.pages import blocks, classes, page
from tests.plugins import interpolation_world as world
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import discover
from transferkit.recipe import load_recipe
from transferkit.testing import check_plugin

PAGE = page("curricula")


def test_the_recipe_is_valid(tmp_path):
    (text,) = blocks(PAGE, "yaml")
    for name in yaml.safe_load(text)["datasets"].values():
        np.savez(tmp_path / name["npz"], x_train=np.zeros((4, 8, 8, 3), np.uint8), y_train=np.arange(4) % 2)
    (tmp_path / "recipe.yaml").write_text(text)
    stages = {stage.name: stage for stage in load_recipe(tmp_path / "recipe.yaml").recipe.stages}
    assert stages["interpolate"].epochs == stages["finetune"].epochs


GRID = (0.0, 0.25, 0.5, 0.75, 1.0)
PLANS = {
    "| `mixture` |": Plan(GRID, "grid", 50),
    "| `mixture`, `skip_source_stage` |": Plan(GRID[1:], "grid", 50),
    "| `mixture`, `shape: linear` or `cosine` |": Plan(GRID, "linear", 50),
}


@pytest.mark.parametrize("row", PLANS)
def test_the_exposures_are_those_of_the_schedule(row):
    (line,) = (line for line in PAGE.splitlines() if line.startswith(row) and re.search(r"\d+,\d{3}", line))
    target, source = (int(number.replace(",", "")) for number in re.findall(r"\d+,\d{3}", line))
    steps = range(50 * 2500 // 20)
    counted = sum(target_counts(PLANS[row].at(step // 125, step / len(steps)), 20, step) for step in steps)
    assert target + source == len(steps) * 20
    assert counted == pytest.approx(target, rel=0.005 if "about" in line else 0)


def test_the_example_trains(tmp_path):
    (block,) = blocks(PAGE, "python")
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    (cls,) = classes(block)
    check_plugin(cls, source="tiny")
    registry = discover()
    module = types.ModuleType("transferkit_rehearse")
    module.transferkit_register = transferkit.hookimpl(lambda register: register.curriculum("rehearse", cls))
    registry.load(module, Owner("rehearse", "transferkit-rehearse", "1.0"))
    datasets = world.write_data(tmp_path)
    curriculum = {"use": "rehearse", "source": "source"}
    result = world.run(tmp_path, datasets, registry, start="scratch", epochs=2, curriculum=curriculum)
    assert result.status == "done"
