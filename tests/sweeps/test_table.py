"""The table's numbers against SciPy and by hand, and what is said of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from transferkit.errors import InputError
from transferkit.report import Metric
from transferkit.statistics import holm, paired_p
from transferkit.sweeps.drawings import undominated
from transferkit.sweeps.folder import Entry, SweepFolder
from transferkit.sweeps.table import latex, sentences, sweep_table

SEEDS = 5
VALUES = {"plain": [0.70, 0.72, 0.69, 0.71, 0.73], "better": [0.80, 0.83, 0.79, 0.80, 0.84],
          "same": [0.71, 0.71, 0.70, 0.70, 0.73]}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A sweep whose cells say that they are done."""
    place = SweepFolder(tmp_path / "made-up")
    entries = []
    for label, values in VALUES.items():
        for seed, value in enumerate(values):
            name = f"{label}-{seed}"
            entries.append(Entry(name, label, seed, {"lr": 0.1 * (1 + len(entries) // SEEDS)}))
            run = place.run(name).path
            run.mkdir(parents=True)
            best = {"epoch": 1, "top1": value, "loss": 1 - value, "split": "val"}
            stage = {"best": best, "last": best, "seconds": 3.0}
            (run / "result.json").write_text(
                json.dumps({"status": "done", "stages": {"target": stage}, "analyses": {}})
            )
            (run / "recipe.yaml").write_text(f"name: x\nseed: {seed}\nstages: [{{name: target}}]\n")
            (run / "metrics.jsonl").write_text(json.dumps({"stage": "target", "seconds": 3.0 + seed}) + "\n")
    place.write_plan({"baseline": "plain", "file": "x"}, entries)
    return place


def test_means_gaps_and_p_values(folder):
    found = sweep_table(folder.path, ["top1", "loss"])
    p = {method: stats.ttest_rel(VALUES[method], VALUES["plain"]).pvalue for method in ("better", "same")}
    gaps = np.subtract(VALUES["better"], VALUES["plain"])
    one = found.rows["better"]["top1"]
    low, high = stats.t.interval(0.95, SEEDS - 1, np.mean(VALUES["better"]), stats.sem(VALUES["better"]))
    assert (one.mean.value, one.mean.low, one.mean.high) == pytest.approx((np.mean(VALUES["better"]), low, high))
    assert one.gap.value == pytest.approx(gaps.mean())
    assert (one.gap.low, one.gap.high) == pytest.approx(stats.t.interval(0.95, SEEDS - 1, gaps.mean(), stats.sem(gaps)))
    # four comparisons: two methods by two metrics with equal p-values
    assert one.p == pytest.approx(4 * p["better"]) and one.certain
    assert (
        found.rows["same"]["top1"].p == pytest.approx(min(1, 2 * p["same"])) and not found.rows["same"]["top1"].certain
    )
    assert np.isnan(found.rows["plain"]["top1"].p)


def test_the_best_is_marked_and_what_cannot_be_told_from_it(folder):
    found = sweep_table(folder.path)
    assert found.best["top1"] == "better" and list(found.metrics) == ["top1", "seconds"]
    columns, rows = found.cells()
    assert columns == ["method", "top-1", "seconds of training"]
    cells = {row[0]: row[1] for row in rows}
    assert cells["better"].endswith("%*!") and not cells["same"].endswith(("~", "!")) and cells["plain"].endswith("%")
    assert cells["same"].startswith("71.0 [69.5, 72.5] %")
    assert sentences(found)[0] == "top-1: better above plain"


def test_less_is_better_for_a_loss(folder):
    assert sweep_table(folder.path, ["loss"]).best == {"loss": "better"}


def test_latex_holds_every_cell(folder):
    text = latex(sweep_table(folder.path, ["top1"]))
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 1 + len(VALUES) and all(line.count("&") == 1 for line in body)
    assert r"\%" in text and "±" not in text


def test_cells_that_are_not_done_are_left_out_and_counted(folder):
    run = folder.run("same-0").path
    (run / "result.json").write_text(json.dumps({"status": "failed", "error": "x", "stages": {}, "analyses": {}}))
    found = sweep_table(folder.path, ["top1"])
    assert found.notes == ["1 of 15 cells are not done, and left out"]
    assert len(found.rows["same"]["top1"].values) == 4 and found.rows["same"]["top1"].gap.n == 4


def test_what_is_no_sweep_or_no_metric_is_said(folder, tmp_path):
    with pytest.raises(InputError, match="not the folder of a sweep"):
        sweep_table(tmp_path)
    with pytest.raises(InputError, match='no run has a metric called "top2"'):
        sweep_table(folder.path, ["top2"])


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_the_step_down_procedure(seed):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0, 0.2, 7)
    adjusted = holm(p)
    for level in (0.01, 0.05, 0.2, 0.5):
        rejected, order = set(), np.argsort(p)
        for place, index in enumerate(order):
            if p[index] > level / (len(p) - place):
                break
            rejected.add(int(index))
        assert {int(index) for index in np.flatnonzero(adjusted <= level)} == rejected


def test_holm_leaves_out_what_was_not_tested():
    assert holm([0.01, np.nan, 0.04]).tolist() == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert holm([]).tolist() == []


def test_a_p_value_needs_pairs_that_vary():
    assert np.isnan(paired_p([1.0], [2.0])) and np.isnan(paired_p([1.0, 2.0], [2.0, 3.0]))
    assert paired_p([1.0, None, 3.0, 4.0], [1.5, 2.0, 3.1, 4.4]) == pytest.approx(
        stats.ttest_rel([1.0, 3.0, 4.0], [1.5, 3.1, 4.4]).pvalue
    )


def test_no_method_on_the_front_is_beaten():
    up, down = Metric("a", "a", more="better"), Metric("b", "b", more="worse")
    points = {"a": (0.9, 0.5), "b": (0.8, 0.2), "c": (0.7, 0.3), "d": (0.9, 0.6), "e": (0.9, 0.5)}
    assert undominated(points, up, down) == ["a", "b", "e"]
    assert undominated({}, up, down) == []
