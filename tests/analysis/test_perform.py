"""Analyzers one after the other: what fails costs only itself, and nothing of the world outside changes."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import transferkit
from tests.analysis.test_session import bench
from transferkit.analysis.perform import perform, perform_all
from transferkit.errors import InputError
from transferkit.hooks import Plugin
from transferkit.registry import Component, Owner


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
    perform(bench(tmp_path), plugin(Counts), tmp_path / "one", parameters={"k": 3}, peers={})
    content = read(tmp_path / "one")
    assert (content["metrics"], content["parameters"], content["version"]) == ({"images": 24.0}, {"k": 3}, "1.2")
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_what_cannot_be_measured_is_a_gap(tmp_path):
    report = perform(bench(tmp_path), plugin(Cannot), tmp_path / "one", parameters={}, peers={})
    assert list(report.gaps) == ["there is no such thing; bring one"]
    assert all(math.isnan(report.metrics[name]) for name in ("a", "b"))
    assert read(tmp_path / "one")["metrics"] == {"a": None, "b": None}


def test_a_bug_is_recorded_and_the_others_still_run(tmp_path):
    done = []
    plugins = [plugin(Breaks, "breaks"), plugin(Counts, "counts")]
    failed = perform_all(
        bench(tmp_path), plugins, lambda name: tmp_path / name, parameters={}, done=lambda n, r: done.append(n)
    )
    assert done == ["counts"]
    assert len(failed) == 1
    assert "analyzer 'breaks' (breaks 1.2) failed: ZeroDivisionError" in failed[0]
    assert not (tmp_path / "breaks").exists()
    with pytest.raises(ZeroDivisionError):
        perform(bench(tmp_path), plugins[0], tmp_path / "x", parameters={}, peers={})


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
    perform(workbench, plugin(Vandal), tmp_path / "one", parameters={}, peers={})
    after = workbench.model("target")
    assert opened == [1]
    assert not after.training
    assert all(torch.equal(before[name], tensor) for name, tensor in after.state_dict().items())
