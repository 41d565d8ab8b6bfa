"""The analyzer `data` from images to issues.csv: planted defects, what is left out, conditions, cost, its card."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transferkit_data_audit.issues import KINDS
from transferkit_data_audit.options import Options

from transferkit.analysis.fail_on import parse
from transferkit.analysis.run_analyzers import Analysis, run_analyzer
from transferkit.hookspecs import Declared
from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import installed
from transferkit.recipe.plugin_use import make
from transferkit.recipe.uses import AnalyzerUse
from transferkit.testing import MadeUpImages, made_up_session, tiny_analysis

from .data_audit_world import SIDE, backbone, drawn, flipped, marked, near_copies_of

CLASSES = ["wheel", "sign"]


def planted():
    """{split: labels}, {split: pictures}: 5 % wrong labels in train, six training pictures again in val, some dark."""
    train, labels = drawn("target", 60)
    held, held_labels = drawn("target", 20, "val")
    given, wrong = flipped(labels, 0)
    train = marked(train, labels == 1)
    train[7] = train[7] // 20
    copied = np.flatnonzero(~wrong)[::17][:6]
    val = np.concatenate([marked(held, held_labels == 1), near_copies_of(train[copied])])
    return {"train": given, "val": np.r_[held_labels, labels[copied]]}, {"train": train, "val": val}, wrong


def run(session, **options):
    """The report, written as in a run."""
    use = AnalyzerUse.model_validate({"use": "data", **options})
    (plugin,) = make([use], "analyzer", installed())
    run_analyzer(Analysis(session.workbench, plugin, session.out, parameters=options, peers={}, run=None))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(folder of the report, which labels are wrong)."""
    labels, pictures, wrong = planted()
    session = made_up_session(
        tmp_path_factory.mktemp("data") / "out",
        images={"target": MadeUpImages(CLASSES, labels, pictures)},
        models={"source": backbone(), "target": backbone()},
        source_data=None,
    )
    run(session, permutations=39, pictures=4)
    return session.out, wrong


def rows(folder):
    with (folder / "issues.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_planted_defect_is_a_row(found):
    folder, wrong = found
    every = rows(folder)
    assert list(every[0]) == ["issue", "split", "id", "class", "score", "suggestion"]
    named = {int(one["id"]) for one in every if one["issue"].endswith("label") and one["split"] == "train"}
    assert len(named & set(np.flatnonzero(wrong))) >= 0.95 * wrong.sum() - 1
    assert len(named - set(np.flatnonzero(wrong))) <= 0.05 * (~wrong).sum()
    leaks = [one for one in every if one["issue"] == "leak"]
    assert {int(one["id"]) for one in leaks} >= set(range(40, 46)) and all(one["split"] == "val" for one in leaks)
    assert all("the same picture as train/" in one["suggestion"] for one in leaks)
    assert ["7"] == [one["id"] for one in every if one["issue"] == "dark"]
    assert {("corners", "sign"), ("corners", "wheel")} == {
        (one["id"], one["class"]) for one in every if one["issue"] == "shortcut" and one["id"] == "corners"
    }


def test_the_worst_of_a_kind_come_first(found):
    every = rows(found[0])
    kinds = [one["issue"] for one in every]
    assert kinds == sorted(kinds, key=list(KINDS).index)
    for kind in set(kinds):
        scores = [float(one["score"]) for one in every if one["issue"] == kind]
        assert scores == sorted(scores, reverse=True)


def test_shares_have_intervals_and_count_the_rows(found):
    report = json.loads((found[0] / "report.json").read_text(encoding="utf-8"))
    metrics, every = report["metrics"], rows(found[0])
    assert metrics["images"] == 166 and metrics["issues"] == len(every)
    for kind, number in (("wrong label", 166), ("leak", 46), ("dark", 166)):
        key = KINDS[kind].key
        assert metrics[key] == pytest.approx(sum(one["issue"] == kind for one in every) / number)
        assert metrics[f"{key}_low"] < metrics[key] < metrics[f"{key}_high"]
    assert metrics["shortcut_p"] <= 0.05 and metrics["told_by_corners"] > 0.9 > metrics["told_by_chance"]
    assert metrics["leaked_exactly"] is None and metrics["told_by_file"] is None  # no files, one size


def test_conditions_can_be_set_on_it(found):
    values = {"data": json.loads((found[0] / "report.json").read_text(encoding="utf-8"))["metrics"]}
    for text, holds in (("data.leaked > 0", True), ("shortcuts >= 1", True), ("data.outliers > 0.5", False)):
        condition = parse(text)
        condition.check_names({"data": Declared.of(installed().get("analyzer", "data").cls).metric_keys})
        assert condition.evaluate(values).holds is holds


def test_pictures_of_the_worst_are_there_and_can_be_read(found):
    report = json.loads((found[0] / "report.json").read_text(encoding="utf-8"))
    assert {"where.svg", "gallery-leak.jpg", "gallery-dark.jpg"} <= set(report["figures"])
    for name in report["figures"]:
        assert (found[0] / name).stat().st_size > 1000
    assert "also in train" in report["verdict"] and "corners" in report["verdict"]
