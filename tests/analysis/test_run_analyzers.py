"""Analyzers one after the other: what fails costs only itself, and nothing of the world outside changes."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import transferkit
from tests.analysis.test_session import bench
from transferkit.analysis.run_analyzers import Analysis, gap, run_analyzer, run_analyzers
from transferkit.errors import InputError, StorageError
from transferkit.plugins.distributions import Owner
from transferkit.plugins.hooks import Plugin
from transferkit.plugins.registry import Component
from transferkit.report import Metric
from transferkit.statistics import Estimate


def plugin(cls: type, name: str = "one") -> Plugin:
    component = Component("analyzer", name, cls, Owner(name, name, "1.2"))
    return Plugin("analyzer", name, cls(), component)


@dataclasses.dataclass
class Counts:
    metrics: ClassVar[tuple[str, ...]] = ("images",)

    def analyze(self, session):
        random.random(), np.random.rand(), torch.rand(3)
        return transferkit.Report({"images": len(session.samples())}, verdict="Fine.")


@dataclasses.dataclass
class Cannot:
    metrics: ClassVar[tuple[str, ...]] = ("a", "b")

    def analyze(self, session):
        raise InputError("there is no such thing; bring one")


@dataclasses.dataclass
class LeavesOut:
    metrics: ClassVar[tuple[str, ...]] = ("a", "b")

    def analyze(self, session):
        return transferkit.Report({"b": 1.0}, gaps=["Too few images for a."])


@dataclasses.dataclass
class Breaks:
    def analyze(self, session):
        (session.out / "half").write_text("written")
        return 1 / 0


@dataclasses.dataclass
class Vandal:
    def analyze(self, session):
        model = session.model("target").train()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        return transferkit.Report()


def read(folder) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def test_a_report_and_untouched_generators(tmp_path):
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    run_analyzer(Analysis(bench(tmp_path), plugin(Counts), tmp_path / "one", parameters={"k": 3}, peers={}))
    content = read(tmp_path / "one")
    assert (content["metrics"], content["parameters"], content["version"]) == ({"images": 24.0}, {"k": 3}, "1.2")
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_what_cannot_be_measured_is_a_gap(tmp_path):
    report = run_analyzer(Analysis(bench(tmp_path), plugin(Cannot), tmp_path / "one", parameters={}, peers={}))
    assert list(report.gaps) == ["there is no such thing; bring one"]
    assert all(math.isnan(report.metrics[name]) for name in ("a", "b"))
    assert read(tmp_path / "one")["metrics"] == {"a": None, "b": None}


def test_what_a_report_leaves_out_beside_a_gap_was_not_measured(tmp_path):
    run_analyzer(Analysis(bench(tmp_path), plugin(LeavesOut), tmp_path / "one", parameters={}, peers={}))
    assert read(tmp_path / "one")["metrics"] == {"a": None, "b": 1.0}


@dataclasses.dataclass
class Wide:
    """Student's intervals of a share and of a difference, as a plugin may compute them."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("kept", "kept", "share", interval=True),
        Metric("lost", "lost", "points", interval=True),
        Metric("loss", "loss", interval=True),
    )

    def analyze(self, session):
        wide = Estimate(0.9, -1.5, 2.4)
        return transferkit.Report({"kept": wide, "lost": wide, "loss": wide})


def test_intervals_end_where_their_kind_of_number_does(tmp_path):
    run_analyzer(Analysis(bench(tmp_path), plugin(Wide), tmp_path / "one", parameters={}, peers={}))
    found = read(tmp_path / "one")["metrics"]
    assert {key: (found[f"{key}_low"], found[f"{key}_high"]) for key in ("kept", "lost", "loss")} == {
        "kept": (0.0, 1.0), "lost": (-1.5, 2.4), "loss": (-1.5, 2.4),
    }  # fmt: skip


@pytest.mark.parametrize("cls", [Cannot, Counts])
def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, cls):
    def half(self, folder, **facts):
        (folder / "table.csv").write_text("a\n")
        raise StorageError("the disk is full")

    monkeypatch.setattr(transferkit.Report, "write", half)
    with pytest.raises(StorageError):
        run_analyzer(Analysis(bench(tmp_path), plugin(cls), tmp_path / "one", parameters={}, peers={}))
    assert not (tmp_path / "one").exists()


def test_a_bug_is_recorded_and_the_others_still_run(tmp_path):
    done = []
    plugins = [plugin(Breaks, "breaks"), plugin(Counts, "counts")]
    made = bench(tmp_path)
    analyses = [(one, partial(Analysis, made, one, tmp_path / one.name, parameters={}, peers={})) for one in plugins]
    failed = run_analyzers(analyses, made.display, lambda name, report: done.append(name))
    assert done == ["counts"]
    (sentence,), (error,) = failed, failed.values()
    assert "analyzer 'breaks' (breaks 1.2) failed: ZeroDivisionError" in sentence
    assert isinstance(error, ZeroDivisionError)
    assert run_analyzers(analyses[1:], made.display, lambda name, content: done.append(content["metrics"])) == {}
    assert done == ["counts", {"images": 24.0}]  # finished before, and kept
    assert not (tmp_path / "breaks").exists()
    with pytest.raises(ZeroDivisionError):
        run_analyzer(Analysis(bench(tmp_path), plugins[0], tmp_path / "x", parameters={}, peers={}))


def test_models_that_cannot_be_opened_cost_their_analysis_alone(tmp_path):
    done, made = [], bench(tmp_path)
    lost, fine = plugin(Counts, "lost"), plugin(Counts, "fine")

    def gone():
        raise OSError("the disk is gone")

    analyses = [(lost, gone), (fine, partial(Analysis, made, fine, tmp_path / "fine", parameters={}, peers={}))]
    (sentence,) = run_analyzers(analyses, made.display, lambda name, report: done.append(name))
    assert done == ["fine"] and sentence.endswith("failed: OSError: the disk is gone")


def test_a_vandal_harms_nobody_after_it(tmp_path):
    workbench = bench(tmp_path)
    weights = workbench.model("target").state_dict()
    before = {name: tensor.clone() for name, tensor in weights.items()}
    opened = []
    model = workbench.models["target"].open()[0]

    def open_again():
        from transferkit.testing import tiny_model

        opened.append(1)
        return tiny_model(model.classes, seed=1), None

    workbench.models["target"].open = open_again
    run_analyzer(Analysis(workbench, plugin(Vandal), tmp_path / "one", parameters={}, peers={}))
    after = workbench.model("target")
    assert opened == [1]
    assert not after.training
    assert all(torch.equal(before[name], tensor) for name, tensor in after.state_dict().items())


@dataclasses.dataclass
class Explains:
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("kept", "what was kept", "share", "better", "How much was kept?", interval=True),
        Metric("p", "p-value", "p"),
    )

    def analyze(self, session):
        return transferkit.Report({"kept": Estimate(0.5, 0.25, 0.75), "p": math.nan}, verdict="Half.")


def test_a_board_gets_the_numbers_and_what_they_mean(tmp_path):
    class Board:
        scalars: ClassVar[dict[str, float]] = {}
        texts: ClassVar[dict[str, str]] = {}

        def add_scalar(self, tag, value, step):
            self.scalars[tag] = value

        def add_text(self, tag, text, step):
            self.texts[tag] = text

    made = bench(tmp_path)
    made.board = Board()
    run_analyzer(Analysis(made, plugin(Explains), tmp_path / "one", parameters={}, peers={}))
    assert Board.scalars == {
        f"analyses/one/{key}": value for key, value in (("kept", 0.5), ("kept_low", 0.25), ("kept_high", 0.75))
    }
    assert Board.texts == {"analyses/one": "Half.\n\n* `kept`: what was kept (more is better)"}


def test_a_gap_has_every_end_of_an_interval(tmp_path):
    assert list(gap(plugin(Explains), "why").metrics) == ["kept", "kept_low", "kept_high", "p"]
