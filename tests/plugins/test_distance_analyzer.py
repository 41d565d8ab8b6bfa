"""The analyzer reads what was recorded, draws it, and says what it lacks."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
from transferkit_distance.analyzer import Distance
from transferkit_distance.measure import read_path

from tests.plugins.made_up_audit import column, written
from transferkit.analysis.plots import picture
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.plugins.registry import installed
from transferkit.recipe.schema import Stage
from transferkit.testing import check_plugin, tiny_analysis

WATCHED = {"use": "distance"}


class MadeUp:
    """A run of stages with these observers and these records."""

    def __init__(self, out, stages, history, stage_name):
        known = {
            name: Stage.model_validate(
                {"name": name, "start": "scratch", "dataset": "d", "epochs": 2, "observers": uses}
            )
            for name, uses in stages.items()
        }
        self.recipe = SimpleNamespace(stages=list(known.values()), stage=known.__getitem__)
        self.out, self.stage_name, self._history = out, stage_name, history

    def history(self, stage=None):
        return self._history[stage or self.stage_name]

    def picture(self, name, width=6.4, height=4.0):
        return picture(self.out / f"{name}.svg", width, height)


def record(epoch, *, plugin="distance", **values):
    return {"stage": "s", "epoch": epoch, "step": 5 * (epoch + 1), "split": "train", "plugins": {plugin: values}}


def two_epochs(**more):
    other = {"stage": "s", "epoch": 0, "step": 5, "split": "val", "top1": 0.5}
    first = record(0, distance=2.0, displacement=1.5, straightness=0.75, **more)
    return [first, other, record(1, distance=5.0, displacement=2.0, straightness=0.4, **more)]


def test_the_table_and_the_metrics_are_those_of_the_last_epoch(tmp_path):
    looked = two_epochs(fisher_length=0.5, fisher_length_definition_2=0.4)
    session = MadeUp(tmp_path, {"a": [WATCHED], "b": [WATCHED]}, {"a": looked, "b": two_epochs()}, "b")
    report = written(Distance(stages=["a", "b"]).analyze(session), session)
    assert report.metrics["distance"] == 5 and report.metrics["straightness"] == 0.4 and report.metrics["steps"] == 10
    assert math.isnan(report.metrics["fisher_length"])  # those of the analysis's own stage, b
    assert set(report.metrics) == set(Declared.of(Distance).metric_keys)
    table = report.tables["distances"]
    assert column(table, "stage") == ["a", "b"] and column(table, "fisher_length")[0] == 0.5
    assert column(report.tables["by_epoch"], "distance") == [2, 5, 2, 5]
    assert set(report.figures) == {"distance.svg", "fisher_length.svg"}  # two units, two pictures
    assert "travelled 5 and ended 2 from where they began, 2.5 times less" in report.verdict
    assert not report.gaps


def test_own_stage_by_default_and_no_fisher_picture_without_looks(tmp_path):
    session = MadeUp(tmp_path, {"a": [WATCHED]}, {"a": two_epochs()}, "a")
    report = written(Distance().analyze(session), session)
    assert report.figures == ["distance.svg"] and not any("Fisher" in note for note in report.notes)


def test_a_renamed_observer_is_found(tmp_path):
    session = MadeUp(tmp_path, {"a": [WATCHED | {"name": "way"}]}, {"a": [record(0, plugin="way", distance=1.0)]}, "a")
    assert read_path(session, "a").end["distance"] == 1


def test_what_is_missing_is_said(tmp_path):
    stages = {"bare": [], "young": [WATCHED], "good": [WATCHED]}
    session = MadeUp(tmp_path, stages, {"young": [], "good": two_epochs()}, "bare")
    report = written(Distance(stages=["bare", "young", "god", "good"]).analyze(session), session)
    assert [gap.split(";")[0] for gap in report.gaps] == [
        'The stage "bare" has no observer distance',
        'The stage "young" has not finished an epoch, so nothing is recorded yet.',
        'The recipe has no stage "god"',
    ]
    assert 'did you mean "good"?' in report.gaps[2]
    assert column(report.tables["distances"], "stage") == ["good"] and report.metrics["distance"] == 5


def test_a_backbone_that_did_not_move(tmp_path):
    still = [record(0, distance=0.0, displacement=0.0, straightness=None)]
    session = MadeUp(tmp_path, {"a": [WATCHED]}, {"a": still}, "a")
    report = written(Distance().analyze(session), session)
    assert report.verdict == "The backbone did not move in the stage a." and math.isnan(report.metrics["straightness"])
    away_and_back = [record(0, distance=3.0, displacement=0.0, straightness=0.0)]
    session = MadeUp(tmp_path, {"a": [WATCHED]}, {"a": away_and_back}, "a")
    assert "ended 0 from where they began." in Distance().analyze(session).verdict


def test_an_audit_has_no_records(tmp_path):
    session = tiny_analysis(tmp_path)
    report = written(Distance().analyze(session), session)
    assert all(math.isnan(value) for value in report.metrics.values()) and not report.figures and not report.tables
    assert report.gaps[0].startswith("An audit knows models, not how they were trained")
    with pytest.raises(InputError, match="an audit knows models"):
        read_path(session, "any")


def test_promises():
    check_plugin(Distance)
    component = installed().get("analyzer", "distance")
    assert component.hooks == ["analyze"] and component.create({}) == Distance()
    json.dumps(component.options.model_json_schema())
