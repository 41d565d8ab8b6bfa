"""Words from intervals, and numbers over seeds, against what was worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from evidence.artefacts import Experiment, Number
from evidence.readings import read
from evidence.results import estimate, numbers
from transferkit.statistics import Estimate


def number(**claim) -> Number:
    return Number(what="x", key="a/x", **claim)


def test_a_sentence_holds_only_where_the_whole_interval_does() -> None:
    assert read(number(above=0), Estimate(0.2, 0.1, 0.3)) == "holds"
    assert read(number(above=0), Estimate(0.2, -0.1, 0.5)) == "not certain"
    assert read(number(above=0), Estimate(-0.2, -0.3, -0.1)) == "opposite"
    assert read(number(below=0), Estimate(-0.2, -0.3, -0.1)) == "holds"
    assert read(number(above=0), Estimate(0.2)) == "not certain"  # one seed, no interval: nothing is certain


def test_no_difference_needs_a_bound() -> None:
    alike = {"above": -0.02, "below": 0.02}
    assert read(number(**alike), Estimate(0.0, -0.01, 0.01)) == "holds"
    assert read(number(**alike), Estimate(0.0, -0.05, 0.05)) == "not certain"
    assert read(number(**alike), Estimate(0.1, 0.05, 0.15)) == "opposite"
    with pytest.raises(ValueError, match="above"):
        number(above=1, below=0)


def test_an_experiment_runs_or_says_how() -> None:
    with pytest.raises(ValueError, match="recipe and minutes"):
        Experiment(recipe="r.yaml", images="x")
    experiment = Experiment(recipe="r.yaml", overrides=("a={data}/b",), minutes=1, images="x")
    assert experiment.line() == "transferkit run r.yaml a=DATA/b"


def test_means_and_pairs_over_seeds() -> None:
    values = {"a/x": {"0": 0.4, "1": 0.6, "2": 0.5}, "a/y": {"0": 0.3, "1": 0.4, "2": None}}
    one = estimate(values, "a/x")
    low, high = stats.t.interval(0.95, 2, 0.5, stats.sem([0.4, 0.6, 0.5]))
    assert (one.value, one.low, one.high) == pytest.approx((0.5, low, high))
    gap = estimate(values, "a/x", "a/y")
    assert gap.value == pytest.approx(0.15) and gap.n == 2


def test_a_single_seed_has_the_interval_of_its_analysis() -> None:
    values = {"a/x": {"0": 0.4}, "a/x_low": {"0": 0.3}, "a/x_high": {"0": 0.5}, "a/y": {"0": 0.1}}
    assert estimate(values, "a/x") == Estimate(0.4, 0.3, 0.5, 1)
    assert math.isnan(estimate(values, "a/y").low)


def test_numbers_of_a_repeated_run(tmp_path) -> None:
    repeats = []
    for seed in (0, 1):
        folder = tmp_path / f"seed-{seed}"
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps({"metrics": {"x": 0.25 + seed, "none": None}}))
        stage = {"kept": "last", "best": {"top1": 1.0}, "last": {"top1": 0.5, "loss": 0.7, "split": "val"}}
        stage["evaluations"] = {"test": {"top1": 0.4, "loss": 0.9, "images": 5}}
        one = {"run_dir": str(folder), "seed": seed, "stages": {"s": stage}, "analyses": {"a": "report.json"}}
        (folder / "result.json").write_text(json.dumps(one))
        repeats.append(one)
    found = numbers({"repeats": repeats})
    assert found["a/x"] == {"0": 0.25, "1": 1.25} and found["a/none"] == {"0": None, "1": None}
    assert found["stages/s/val/top1"] == {"0": 0.5, "1": 0.5} and found["stages/s/test/loss"]["0"] == 0.9


def test_correlations_over_seeds_stay_below_one() -> None:
    stored = {"a/r": {"0": 0.9, "1": 0.99, "2": 0.97}}
    found = estimate(stored, "a/r", unit="correlation")
    z = np.arctanh([0.9, 0.99, 0.97])
    low, high = stats.t.interval(0.95, 2, z.mean(), stats.sem(z))
    assert (found.value, found.low, found.high) == pytest.approx(tuple(np.tanh([z.mean(), low, high])))
    assert found.high < 1 < estimate(stored, "a/r").high
