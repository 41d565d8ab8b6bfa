"""Means over seeds: the interval against Student's t by hand and against SciPy, and what a seed lacks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from scipy import stats

from transferkit.report import Report
from transferkit.runs.over_seeds import over_seeds, summarise


def test_the_interval_by_hand():
    # 1, 2, 6: mean 3, sd √((4 + 1 + 9) / 2) = √7; t(0.975, 2) = 4.302653 from a printed table
    found = over_seeds([1, 2, 6])
    assert (found.mean, found.n) == (3, 3)
    assert found.sd == pytest.approx(math.sqrt(7))
    assert found.high == pytest.approx(3 + 4.302653 * math.sqrt(7) / math.sqrt(3), abs=1e-5)
    assert found.low == pytest.approx(3 - 4.302653 * math.sqrt(7) / math.sqrt(3), abs=1e-5)
    two = over_seeds([0.4, 0.6])  # t(0.975, 1) = 12.7062, standard error 0.1
    assert (two.low, two.high) == (pytest.approx(0.5 - 1.27062, abs=1e-5), pytest.approx(0.5 + 1.27062, abs=1e-5))


def test_the_interval_is_scipys():
    values = [0.61, 0.58, 0.66, 0.63, 0.7]
    low, high = stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=stats.sem(values))
    found = over_seeds(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_only_finite_values_count():
    found = over_seeds([0.4, None, math.nan, math.inf, 0.6])
    assert (found.n, found.mean) == (2, 0.5)
    one = over_seeds([None, 0.4, math.nan])
    assert (one.n, one.mean, one.sd, one.low, one.high) == (1, 0.4, None, None, None)
    none = over_seeds([math.nan, None])
    assert (none.n, none.mean, none.sd, none.low, none.high) == (0, None, None, None, None)


def test_equal_values_have_no_spread():
    found = over_seeds([0.1] * 3)
    assert (found.mean, found.sd, found.low, found.high) == (0.1, 0, 0.1, 0.1)


def repeat(folder: Path, seed: int, top1: float, reports: dict[str, dict[str, float]], **evaluations) -> dict:
    run = folder / "repeats" / f"seed-{seed}"
    for name, metrics in reports.items():
        Report(metrics).write(run / "analyses" / name, name=name, plugin=name, version="1", parameters={})
    epoch = {"epoch": seed, "loss": 1 - top1, "split": "val"}
    stage = {
        "best": epoch | {"top1": top1},
        "last": epoch | {"top1": top1 - 0.1, "loss": 2.0},
        "model": "stages/t/model",
        "classes": ["a", "b"],
        "images": {"train": 8, "val": 4},
        "seconds": 1.5,
        "warnings": ["careful"],
        "evaluations": evaluations,
    }
    analyses = {name: f"analyses/{name}/report.json" for name in reports}
    return {"run_dir": str(run), "seed": seed, "stages": {"t": stage}, "analyses": analyses}


@pytest.fixture
def result(tmp_path):
    """Three seeds: one has not measured `rare`, one has an analysis more, one an evaluation without a top-1."""
    nan = math.nan
    squares = {"top1": 0.5, "loss": 0.7, "images": 40, "per_class": {"a": 0.5}}
    repeats = [
        repeat(tmp_path, 4, 0.7, {"retention": {"kept": 0.4, "rare": nan}}, squares=squares),
        repeat(tmp_path, 5, 0.8, {"retention": {"kept": 0.6, "rare": 0.2}}, squares=squares | {"top1": 0.6}),
        repeat(tmp_path, 6, 0.9, {"retention": {"kept": 0.5, "rare": 0.4}, "bias": {"high": nan}}),
    ]
    return summarise(tmp_path, repeats)


def test_metrics_of_analyses(result):
    kept = result["metrics"]["retention"]["kept"]
    # mean 0.5, sd 0.1, t(0.975, 2) = 4.302653
    assert (kept["mean"], kept["sd"], kept["n"]) == (pytest.approx(0.5), pytest.approx(0.1), 3)
    assert kept["high"] - 0.5 == pytest.approx(4.302653 * 0.1 / math.sqrt(3), abs=1e-6)
    assert kept["values"] == {"4": 0.4, "5": 0.6, "6": 0.5}
    rare = result["metrics"]["retention"]["rare"]
    assert (rare["mean"], rare["n"]) == (pytest.approx(0.3), 2)
    assert rare["values"] == {"4": None, "5": 0.2, "6": 0.4}
    none = {"mean": None, "sd": None, "n": 0, "low": None, "high": None}
    assert result["metrics"]["bias"] == {"high": none | {"values": {"6": None}}}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_stages_have_best_last_and_evaluations(result):
    stage = result["stages"]["t"]
    assert stage["model"] == "repeats/seed-4/stages/t/model" and stage["seconds"] == 4.5
    assert stage["warnings"] == ["careful (in 3 of 3 seeds)"]
    assert stage["best"]["top1"] == pytest.approx(0.8) and stage["best"]["sd"]["top1"] == pytest.approx(0.1)
    assert stage["last"]["top1"] == pytest.approx(0.7) and stage["last"]["sd"]["loss"] == 0
    assert stage["best"]["n"] == stage["last"]["n"] == 3 and stage["best"]["split"] == "val"
    squares = stage["evaluations"]["squares"]
    assert squares["top1"] == pytest.approx(0.55) and squares["sd"]["top1"] == pytest.approx(math.sqrt(0.005))
    assert (squares["loss"], squares["n"], squares["images"]) == (0.7, 2, 40)
    assert "top5" not in squares and "per_class" not in squares


def test_of_what_a_seed_lacks_there_is_no_mean(tmp_path):
    first = repeat(tmp_path, 0, 0.7, {}, other={"top1": None, "loss": math.inf, "images": 3})
    second = repeat(tmp_path, 1, 0.9, {}, other={"top1": 0.5, "loss": 0.2, "images": 3})
    second["stages"]["t"]["best"]["top1"] = None
    stage = summarise(tmp_path, [first, second])["stages"]["t"]
    assert stage["best"]["top1"] is None and stage["best"]["sd"]["top1"] is None
    assert stage["best"]["loss"] == pytest.approx(0.2)
    assert stage["evaluations"]["other"] == {"sd": {}, "n": 2, "images": 3}


def test_nothing_yet_and_one_seed(tmp_path):
    assert summarise(tmp_path, [])["metrics"] == {} == summarise(tmp_path, [])["stages"]
    one = summarise(tmp_path, [repeat(tmp_path, 0, 0.7, {"retention": {"kept": 0.4}})])
    assert one["metrics"]["retention"]["kept"]["sd"] is None and one["stages"]["t"]["best"]["sd"]["top1"] is None


def test_a_warning_that_differs_in_its_numbers_is_one_warning() -> None:
    from transferkit.runs.over_seeds import _warnings

    found = _warnings([["rate 0.1 above 0.06", "constant"], ["rate 0.1 above 0.055"], ["rate 0.1 above 0.05"]], "seeds")
    assert found == ["constant (in 1 of 3 seeds)", "rate 0.1 above 0.06 (in 3 of 3 seeds)"]
    assert _warnings([[], []], "seeds") == []


def test_an_interval_of_shares_ends_where_shares_do(tmp_path: Path) -> None:
    """0.98 and 1.00 have the mean 0.99 and t(0.975, 1) · 0.01 = 0.127: Student's interval would reach 112 %."""
    assert over_seeds([0.98, 1.0]).high == pytest.approx(0.99 + 0.127062, abs=1e-5)
    assert over_seeds([0.98, 1.0], "share").high == 1 and over_seeds([0.0, 0.02], "share").low == 0
    assert over_seeds([-0.9, 0.9], "points").low < -1  # such as a difference of differences
    reports = [{"retention": {"top1_source": top1, "relative_retention_gap": top1 - 0.99}} for top1 in (0.98, 1.0)]
    repeats = [repeat(tmp_path, seed, 0.9, report) for seed, report in enumerate(reports)]
    found = summarise(tmp_path, repeats)["metrics"]["retention"]
    assert found["top1_source"]["high"] == 1 and found["top1_source"]["low"] == pytest.approx(0.862938, abs=1e-5)
    assert found["relative_retention_gap"]["high"] == pytest.approx(0.127062, abs=1e-5)
