"""The quickstart finds what is planted in its drawn world, and shows distraction.

A small version of it runs here; `pytest tests/test_quickstart.py --quickstart-seeds 10` runs the recipe as it is on
seeds 0 to 9, with one thread and with two. What ten seeds came to is stored in evidence/quickstart.json.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from evidence.page import result_of
from evidence.results import estimate
from transferkit.api import execute
from transferkit.cli.planted import Planted, planted
from transferkit.data import world
from transferkit.recipe import load_recipe
from transferkit.statistics import difference_over_seeds

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "quickstart.yaml"
SMALL = [
    "datasets.shapes.world.train=80",
    "datasets.shapes.world.val=12",
    "datasets.wheels_signs.world.val=40",
    "stages.source.epochs=9",
    "stages.source.evaluate_every=9",
    "stages.baseline.evaluate_every=12",
    "analyses.distraction.composites=12",
    "analyses.distraction.gallery=0",
    *(f"~analyses.{name}" for name in ("retention", "bias", "confusion", "interference")),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--quickstart-seeds")))


def rows_of(report: dict[str, Any], table: str) -> dict[str, dict[str, Any]]:
    """{class: row} of a table of a report."""
    columns = report["tables"][table]["columns"]
    found = [dict(zip(columns, row, strict=True)) for row in report["tables"][table]["rows"]]
    return {row["name"]: row for row in found}


def check(found, margin: float = 1) -> list[Planted]:
    """Exactly the planted classes linger, `margin` times the thresholds away; M^t looks where M^s does."""
    there = list(planted(found.run_dir, found.analyses))
    assert len(there) == 3
    for one in there:
        assert one.found and one.value > margin * one.bound, str(one)
    return there


def test_a_small_version(tmp_path: Path) -> None:
    found = execute(load_recipe(RECIPE, SMALL), out=tmp_path, quiet=True)
    memories, shown, looks = check(found)
    lingering, distraction = (json.loads((found.run_dir / found.analyses[name]).read_text()) for name in found.analyses)
    rows = rows_of(lingering, "lingering")
    assert memories.value == min(rows[name]["mean_probability"] for name in world.SOURCE_ONLY)
    assert shown.value == min(rows[name]["prevalence_share"] for name in world.SHARED)
    assert (memories.bound, shown.bound) == (0.167, 0.05)
    maps = rows_of(distraction, "distraction")
    pairs = [(maps[name]["target"], maps[name]["baseline"]) for name in world.SOURCE_ONLY]
    low = difference_over_seeds(*zip(*pairs, strict=True), paired=True).low
    assert looks.value == pytest.approx(low) and "8 of 8 classes" in str(memories)
    assert re.search(r"^found .* \([0-9.]+ times as much\)$", str(shown))


def test_what_is_not_as_planted_is_called_missed():
    assert str(Planted("7 of 8 classes linger; least", 0.4, 0.167, 7, 8)).startswith("MISSED  7 of 8 classes linger")
    assert not Planted("least", 0.1, 0.167).found and Planted("least", 0.4, 0.167).found
    assert not Planted("least", math.nan, 0).found


@pytest.mark.parametrize("threads", [1, 2])
def test_the_recipe_as_it_is(seed: int, threads: int, tmp_path: Path) -> None:
    check(execute(load_recipe(RECIPE, [f"seed={seed}", f"threads={threads}"]), out=tmp_path, quiet=True), margin=2)


def test_ten_seeds_are_stored() -> None:
    stored = result_of("quickstart")
    assert stored is not None and stored["seeds"] == list(range(10))
    numbers = stored["numbers"]
    for metric, count in (("source_only", 8), ("lingering_certain", 8), ("shared", 4)):
        assert set(numbers[f"lingering/{metric}"].values()) == {count}
    difference = estimate(numbers, "distraction/target_mean", "distraction/baseline_mean")
    assert difference.low > 0
    above = [numbers["distraction/target_mean"][s] > value for s, value in numbers["distraction/baseline_mean"].items()]
    assert all(above) and max(numbers["distraction/p_value"].values()) < 0.05
