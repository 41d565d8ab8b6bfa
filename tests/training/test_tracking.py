"""Trackers: what they are given, in which run of theirs, and that one which fails costs itself alone."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from types import SimpleNamespace
from typing import ClassVar

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from tests.stopping import stopped_at
from tests.training.test_loop import records
from transferkit.api import resume
from transferkit.errors import InputError
from transferkit.recipe import load_recipe
from transferkit.recipe.trackers import PACKAGES, wrong_tracker
from transferkit.training.tracking import send


def need(package):
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


class Memory(GeneralTracker):
    """In the place of MLflow's: keeps what it is given, and hands out a run of its own unless it is told one."""

    name = "mlflow"
    requires_logging_directory = False
    made: ClassVar[list[Memory]] = []
    fails: ClassVar[set[str]] = set()

    def __init__(self, project, run_name=None, run_id=None):
        super().__init__()
        self.project, self.title, self.told = project, run_name, run_id
        self.run_id = run_id or f"run-{len(self.made)}"
        self.config, self.values, self.files, self.ended = {}, [], [], False
        self.made.append(self)

    def start(self):
        self._maybe("start")

    def _maybe(self, what):
        if what in self.fails:
            raise ConnectionError(f"no answer to {what}\nsecond line")

    @property
    def tracker(self):
        return SimpleNamespace(info=SimpleNamespace(run_id=self.run_id))

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step=None, **kwargs):
        self._maybe("log")
        self.values.append((step, values))

    def log_artifacts(self, local_dir, artifact_path=None):
        self._maybe("artifacts")
        self.files.append((artifact_path, sorted(os.listdir(local_dir))))

    def log_artifact(self, local_path, artifact_path=None):
        self.files.append((artifact_path, os.path.basename(local_path)))

    def finish(self):
        self.ended = True


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.setattr(Memory, "made", [])
    monkeypatch.setattr(Memory, "fails", set())
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "mlflow", Memory)
    monkeypatch.setattr("transferkit.recipe.trackers.find_spec", lambda name: name)
    monkeypatch.setattr("transferkit.training.tracking._send_report", lambda *given: sent.append(given))
    sent = []
    Memory.sent = sent
    return Memory


TOP = {"trackers": ["tensorboard", "mlflow"]}


def test_what_a_tracker_is_given(run, memory):
    found = run(top=TOP)
    (tracker,) = memory.made
    assert (tracker.project, tracker.title) == ("tiny", f"{found.run_dir.name}/target")
    assert tracker.config["stages.target.optimizer.lr"] == 0.01 and tracker.config["seed"] == 0
    assert all(isinstance(value, int | float | str) for value in tracker.config.values())
    logged = {(step, name): value for step, values in tracker.values for name, value in values.items()}
    for record in records(found.run_dir) + records(found.run_dir, "val"):
        assert logged[record["step"], f"{record['split']}/loss"] == record["loss"]
    assert tracker.files[0][0] == "model" and "model.safetensors" in tracker.files[0][1]
    assert (None, "recipe.yaml") in tracker.files and tracker.ended
    assert json.loads((found.run_dir / "trackers.json").read_text()) == {"target": {"mlflow": "run-0"}}
    assert [given[:2] for given in memory.sent] == [("mlflow", "run-0")] and memory.sent[0][2].name == "report.html"
    assert list((found.run_dir / "tb" / "target").glob("events*"))


def test_a_resumed_run_goes_on_in_the_same_tracker_run(run, memory, monkeypatch):
    with stopped_at(5) as caught:
        run(top=TOP)
    folder = str(caught.value.__notes__[-1]).rpartition(" ")[2].strip('")')
    folder = folder.partition('resume("')[2] or folder
    resume(folder, quiet=True)
    assert [one.told for one in memory.made] == [None, "run-0"]
    assert memory.made[0].config and not memory.made[1].config  # which MLflow would refuse to change


@pytest.mark.parametrize(("what", "words"), [
    ("start", "MLflow gets nothing of stage target: no answer to start"),
    ("log", "MLflow gets nothing more: no answer to log"),
    ("artifacts", "MLflow did not take the model: no answer to artifacts"),
])  # fmt: skip
def test_one_that_fails_is_a_warning_and_the_others_go_on(run, memory, what, words):
    memory.fails.add(what)
    found = run(top=TOP)
    assert found.status == "done"
    said = (found.run_dir / "run.log").read_text()
    assert words in said and "second line" not in said
    assert list((found.run_dir / "tb" / "target").glob("events*"))
    assert len(memory.made[0].values) == 0 or what == "artifacts"


def test_none_at_all(run):
    found = run(top={"trackers": []})
    assert not (found.run_dir / "tb" / "target").exists() and not (found.run_dir / "trackers.json").exists()


def test_names_of_numbers_are_such_as_mlflow_takes():
    told = []
    tracker = SimpleNamespace(name="mlflow", log=lambda values, step: told.append(values))
    send([tracker], {"step/l2_sp (backbone)": 1.0}, 3, print)
    assert told == [{"step/l2_sp _backbone_": 1.0}]


def test_wrong_and_missing_ones_are_refused_with_their_place(recipe_file, registry, monkeypatch):
    assert wrong_tracker("tensorboard") is None and PACKAGES.keys() <= {str(name) for name in LOGGER_TYPE_TO_CLASS}
    with pytest.raises(InputError, match=r'tiny\.yaml:\d+:\d+  trackers.*no tracker called "tensorbord"') as caught:
        load_recipe(recipe_file(top={"trackers": ["tensorboard", "tensorbord"]}), registry=registry)
    assert 'did you mean "tensorboard"' in str(caught.value)
    monkeypatch.setattr("transferkit.recipe.trackers.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tiny\.yaml:\d+:\d+  trackers.*wandb is not installed\n.*pip install wandb"):
        load_recipe(recipe_file(top={"trackers": ["wandb"]}), registry=registry)


# -- the real ones, without a network ---------------------------------------------------------------------------------


@need("mlflow")
def test_mlflow_in_a_local_database(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    found = run(top=TOP, epochs=1, regularizers=[{"use": "l2", "weight": 0.001}])
    from mlflow import MlflowClient

    client = MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    (told,) = client.search_runs([experiment.experiment_id])
    assert told.info.run_name == f"{found.run_dir.name}/target" and told.info.status == "FINISHED"
    assert told.data.params["stages.target.optimizer.lr"] == "0.01"
    assert told.data.metrics["val/loss"] == pytest.approx(records(found.run_dir, "val")[-1]["loss"])
    assert {one.path for one in client.list_artifacts(told.info.run_id)} == {"model", "recipe.yaml", "report.html"}
    assert "warning" not in (found.run_dir / "run.log").read_text().lower()


@need("wandb")
def test_wandb_offline(run, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    found = run(top={"trackers": ["wandb"]}, epochs=1)
    written = list((found.run_dir / "wandb").glob("offline-run-*/run-*.wandb"))
    assert written and not (tmp_path / "wandb").exists()
    known = json.loads((found.run_dir / "trackers.json").read_text())["target"]["wandb"]
    assert all(known in path.name for path in written)
    assert b"val/loss" in b"".join(path.read_bytes() for path in written)
    assert "W&B" not in (found.run_dir / "run.log").read_text()


@need("trackio")
def test_trackio_in_a_local_folder(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    found = run(top={"trackers": ["trackio"]}, epochs=1)
    assert "Trackio" not in (found.run_dir / "run.log").read_text()
    assert any((tmp_path / "trackio").rglob("*"))
