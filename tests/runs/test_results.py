"""What a run and an audit give to Python: the numbers of their files, in a line, a table and a frame."""

from __future__ import annotations

import json

import pytest

import transferkit
from transferkit.errors import InputError
from transferkit.runs.comparison import compare_runs
from transferkit.runs.results import AuditResult, RunResult


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "analyses" / "retention"
    folder.mkdir(parents=True)
    metrics = {"relative_retention": 0.8, "relative_retention_low": 0.7, "relative_retention_high": None, "other": 3}
    report = {"plugin": "retention", "metrics": metrics, "verdict": "Four fifths are left."}
    (folder / "report.json").write_text(json.dumps(report))
    return tmp_path


STAGES = {
    "target": {
        "best": {"epoch": 1, "top1": 0.75, "loss": 0.5, "sd": {"top1": 0.01}},
        "last": {"epoch": 2, "top1": 0.5, "loss": 0.6},
        "images": {"val": 40},
        "seconds": 3.0,
    },
    "sizes": {"best": {"epoch": 0, "loss": 0.25}, "last": None},
}


def test_a_run_is_a_row_per_stage(run_dir):
    result = RunResult(run_dir, "done", STAGES, {"retention": "analyses/retention/report.json"})
    assert repr(result) == f"<run {run_dir}: done, target 75.0 %, sizes loss 0.25, retention>"
    first, second = result.records()
    assert (first["best_epoch"], first["best_top1"], first["best_top1_sd"], first["last_loss"]) == (2, 0.75, 0.01, 0.6)
    assert (second["stage"], second["best_top1"], second["best_loss"], second["val_images"]) == (
        "sizes",
        None,
        0.25,
        None,
    )
    shown = result._repr_html_()
    assert "<td>0.75</td>" in shown and "retention: Four fifths are left." in shown and "report.html" in shown


def test_what_analyses_measured_has_its_interval_in_the_row(run_dir):
    pandas = pytest.importorskip("pandas")
    frame = RunResult(run_dir, "done", {}, {"retention": "analyses/retention/report.json"}).measured()
    assert list(frame.metric) == ["relative_retention", "other"]
    assert (frame.value[0], frame.low[0], frame.value[1]) == (0.8, 0.7, 3)
    assert pandas.isna(frame.high[0]) and pandas.isna(frame.low[1])
    assert (frame.analysis[0], frame.unit[0], frame.unit[1]) == ("retention", "share", "number")


def test_an_audit_is_a_row_per_metric_and_says_what_failed(run_dir):
    result = AuditResult(
        run_dir,
        {"retention": {}},
        ["other > 2 : holds"],
        True,
        ["careful"],
        ["bias broke: why"],
        {"retention": "Much."},
    )
    assert [row["metric"] for row in result.records()] == ["relative_retention", "other"]
    assert repr(result).endswith("retention measured, 1 broke, FAILED>")
    shown = result._repr_html_()
    for text in ("retention: Much.", "other &gt; 2", "careful", "bias broke: why"):
        assert text in shown


def test_an_analysis_without_its_file_is_left_out(tmp_path):
    result = RunResult(tmp_path, "failed", {}, {"bias": "analyses/bias/report.json"})
    assert result.sentences() == [f"Report: {tmp_path / 'report.html'}"]


def test_runs_side_by_side_are_a_row_each(tmp_path):
    for name, lr, top1 in (("one", 0.1, 0.5), ("two", 0.2, 0.75)):
        (tmp_path / name).mkdir()
        stage = {"best": {"epoch": 0, "top1": top1}, "last": {"epoch": 1, "top1": top1 / 2}, "seconds": 2.0}
        (tmp_path / name / "result.json").write_text(json.dumps({"status": "done", "stages": {"a": stage}}))
        recipe = {"name": "x", "stages": [{"name": "a", "optimizer": {"lr": lr}}]}
        (tmp_path / name / "recipe.yaml").write_text(json.dumps(recipe))
    found = transferkit.compare(tmp_path)
    assert found.rows == compare_runs([tmp_path]).rows
    rows = found.records()
    assert [(row["stages.a.optimizer.lr"], row["best top1"], row["epoch"], row["last top1"]) for row in rows] == [
        (0.1, 0.5, 1, 0.25),
        (0.2, 0.75, 1, 0.375),
    ]
    assert repr(found) == "<2 runs, stage a, by top1>"
    with pytest.raises(InputError, match=r"^metric: no run has"):
        transferkit.compare(tmp_path, metric="toop1")
