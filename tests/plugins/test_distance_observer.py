"""The observer in runs: the way it reports is the way that the weights took, whatever happens to the run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transferkit_distance.observer import Distance
from transferkit_task_interpolation import path_length

from tests.training.conftest import offer, recipe_file, registry, run, tiny_npz  # noqa: F401 - fixtures
from tests.training.test_loop import StopAt, records, same, weights, without_time
from tests.training.two_processes import in_two_processes
from transferkit.api import execute, resume
from transferkit.errors import InputError, Interrupted
from transferkit.plugins.registry import installed
from transferkit.recipe import load_recipe
from transferkit.testing import check_plugin
from transferkit.testing.tiny import tiny_session

WATCHED = {"use": "distance"}
LOOKED = {"use": "distance", "fisher_every": 2, "fisher_images": 8}
TRACKS: list[np.ndarray] = []


@dataclasses.dataclass
class Recorder:
    """Keep the backbone's weights before the first step and after each."""

    def setup(self, session):
        TRACKS.clear()
        self.keep(session)

    def step_end(self, session):
        self.keep(session)

    def keep(self, session):
        flat = [p.detach().double().flatten().numpy().copy() for _, p in session.model.named_backbone_parameters()]
        TRACKS.append(np.concatenate(flat))


def recorded(result, epoch=-1):
    return records(result.run_dir)[epoch]["plugins"]["distance"]


@pytest.mark.parametrize(
    "stage",
    [
        {},
        {"optimizer": {"name": "adamw", "lr": 1e-3}, "accumulate": 2, "batch_size": 4},
        {"start": "scratch", "unfreeze": {"every": 1}, "epochs": 3},
        {"freeze": ["conv1*", "layer1*"], "channels_last": True},
    ],
    ids=["plain", "adamw, accumulated", "gradual unfreezing", "frozen in part, channels last"],
)
def test_the_distance_is_that_of_the_recorded_trajectory(run, registry, stage):  # noqa: F811
    offer(registry, "observer", "recorder", Recorder)
    result = run(**stage, observers=[{"use": "recorder"}, WATCHED])
    found, steps = recorded(result), records(result.run_dir)[-1]["step"]
    assert len(TRACKS) == steps + 1
    expected = path_length(torch.from_numpy(np.stack(TRACKS)))
    assert found["distance"] == pytest.approx(float(expected), rel=1e-6)
    assert found["distance"] == pytest.approx(np.linalg.norm(np.diff(TRACKS, axis=0), axis=1).sum(), rel=1e-6)
    assert found["displacement"] == pytest.approx(np.linalg.norm(TRACKS[-1] - TRACKS[0]), rel=1e-6)
    assert found["straightness"] == pytest.approx(found["displacement"] / found["distance"])
    assert 0 < found["straightness"] <= 1 + 1e-6


def test_it_watches_and_changes_nothing(run):  # noqa: F811
    dropout = {"model": {"name": "test_resnet", "options": {"drop_rate": 0.3}, "preprocessing": {"input_size": 32}}}
    plain = run(**dropout)
    watched = run(**dropout, observers=[LOOKED])
    assert same(weights(plain.run_dir), weights(watched.run_dir))
    assert [r["loss"] for r in records(plain.run_dir)] == [r["loss"] for r in records(watched.run_dir)]


def test_a_fixed_backbone_goes_nowhere(run):  # noqa: F811
    stage = {"dataset": "tiny", "batch_size": 8, "workers": 0, "epochs": 1}
    first = stage | {"name": "first", "start": "scratch"}
    fixed = stage | {"name": "target", "start": "first", "fixed_features": True, "observers": [WATCHED]}
    result = run(top={"stages": [first, fixed]})
    assert recorded(result) == {"distance": 0.0, "displacement": 0.0, "straightness": None}
    assert "no parameter of the backbone trains" in "\n".join(result.stages["target"]["warnings"])


def test_fisher_lengths_are_recorded_every_few_steps(run):  # noqa: F811
    every = recorded(run(observers=[LOOKED | {"fisher_every": 1}]))
    rarely = recorded(run(observers=[LOOKED | {"fisher_every": 100}]))
    assert 0 < every["fisher_length_definition_2"] <= every["fisher_length"]
    assert rarely["fisher_length"] < every["fisher_length"]  # at the ends of epochs only
    assert every["distance"] == rarely["distance"]
    assert "fisher_length" not in recorded(run(observers=[WATCHED]))


@pytest.mark.parametrize("step", [2, 4, 5])
def test_interrupted_is_the_same_as_uninterrupted(
    run,  # noqa: F811
    registry,  # noqa: F811
    recipe_file,  # noqa: F811
    tmp_path,
    monkeypatch,
    step,
):
    stage = {"unfreeze": {"every": 1}, "observers": [LOOKED, {"use": "stopper", "step": step}]}
    offer(registry, "observer", "stopper", StopAt)
    monkeypatch.setenv("TRANSFERKIT_TEST_STOPPED", "1")  # nothing stops this one
    whole = run(**stage)
    monkeypatch.delenv("TRANSFERKIT_TEST_STOPPED")
    with pytest.raises(Interrupted):
        execute(load_recipe(recipe_file(**stage), registry=registry), out=tmp_path / "stopped", quiet=True)
    (run_dir,) = (tmp_path / "stopped" / "tiny").iterdir()
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    resumed = resume(run_dir, quiet=True)
    assert without_time(records(whole.run_dir)) == without_time(records(resumed.run_dir))
    assert recorded(whole)["fisher_length"] > 0


def test_two_processes_travel_as_far_as_one(run, recipe_file, tmp_path):  # noqa: F811
    stage = {"batchnorm": "eval", "augmentation": {"none": True}, "observers": [LOOKED]}
    one = recorded(run(**stage))
    two = in_two_processes(recipe_file(**stage), tmp_path / "two")
    found = records(Path(two["run_dir"]))[-1]["plugins"]["distance"]
    assert found == pytest.approx(one, rel=1e-3)


def test_promises_and_options():
    check_plugin(Distance)
    check_plugin(Distance, fisher_every=1, fisher_images=4)
    component = installed().get("observer", "distance")
    assert component.hooks == ["setup", "step_end", "epoch_end", "teardown"]
    for wrong in ({"fisher_every": -1}, {"fisher_images": 0}, {"every": 1}):
        with pytest.raises(ValidationError):
            component.create(wrong)


def test_training_images_are_looked_at_as_evaluation_sees_them(tmp_path):
    """Without a validation split; an augmentation would make predictions move by themselves."""
    session = tiny_session(tmp_path)
    session.validation_samples = None

    class Random:
        random = True

        def __getattr__(self, name):
            raise AssertionError("the augmentation was used")

    plain = session.train_samples.pipeline
    session.train_samples.evaluation, session.train_samples.pipeline = plain, Random()
    observer = Distance(fisher_every=1, fisher_images=5)
    observer.setup(session)
    assert len(observer._predictions.images) == 5
    known = [plain.final(session.train_samples.picture(i)) for i in range(12)]
    assert all(any(torch.equal(image, other) for other in known) for image in observer._predictions.images)


def test_numbers_have_no_fisher_length(tmp_path):
    session = SimpleNamespace(**vars(tiny_session(tmp_path)))
    session.classes = ["output"]
    with pytest.raises(InputError, match="this model has no classes; use fisher_every: 0"):
        Distance(fisher_every=1).setup(session)
