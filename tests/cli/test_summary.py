"""The lines about repeated runs: which metrics, how many, and what seeds lack."""

from __future__ import annotations

import json

import pytest

from transferkit.cli.summary import over_seeds_lines
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry
from transferkit.report import Metric
from transferkit.runs.over_seeds import over_seeds


class Declares:
    metrics = (
        Metric("second", "the second one", "share"),
        Metric("first", "the first one", "ratio", interval=True),
        "never",
        *(f"m{i}" for i in range(9)),
    )

    def analyze(self, session):
        return None


@pytest.fixture
def result(tmp_path, monkeypatch):
    """A made-up result of two seeds, with an analyzer that declares less than it returns."""
    registry = Registry()
    registry.add("analyzer", "declares", Declares, Owner("test", "test-plugins", "1.0"))
    monkeypatch.setattr("transferkit.plugins.files.known", lambda: registry)

    def of(*values):
        found = over_seeds(values)
        return vars(found) | {"values": {str(seed): value for seed, value in enumerate(values)}}

    names = ["first", "first_low", "first_high", "second", *(f"m{i}" for i in range(9)), "extra"]
    metrics = {name: of(0.4, 0.6) for name in names} | {"never": of(None, None), "second": of(None, 0.25)}
    (tmp_path / "analyses" / "mine").mkdir(parents=True)
    (tmp_path / "analyses" / "mine" / "report.json").write_text(json.dumps({"plugin": "declares"}))
    repeats = [{"run_dir": str(tmp_path), "seed": seed} for seed in (0, 1)]
    return {"repeats": repeats, "metrics": {"mine": metrics}}


def test_declared_metrics_in_the_order_of_the_analyzer(result):
    lines = list(over_seeds_lines(result))
    assert lines[0] == "mine over 2 seeds: mean ± sd (95 % interval of the mean over seeds)"
    assert lines[1] == "  the second one  25.0 %, 1 of 2 seeds"
    assert lines[2] == "  the first one   0.50 ± 0.14 (-0.77 to 1.77)"  # t(0.975, 1) · 0.1 = 1.2706
    assert [line.split()[0] for line in lines[3:9]] == [f"m{i}" for i in range(6)]
    assert lines[9:] == ["  7 more in report.html"]


def test_an_analyzer_that_is_not_installed(result, tmp_path):
    (tmp_path / "analyses" / "mine" / "report.json").write_text(json.dumps({"plugin": "gone"}))
    assert [line.split()[0] for line in over_seeds_lines(result)][1:5] == ["first", "first_low", "first_high", "second"]
    (tmp_path / "analyses" / "mine" / "report.json").unlink()
    assert len(list(over_seeds_lines(result))) == 10


def test_nothing_measured_is_said(result):
    result["metrics"]["mine"] = {"never": result["metrics"]["mine"]["never"]}
    assert list(over_seeds_lines(result))[1:] == ["  nothing could be measured; the reports of the seeds say why"]


def test_single_runs_have_none():
    assert list(over_seeds_lines({"stages": {}})) == []
