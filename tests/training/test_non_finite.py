"""A number that is none ends the run with exit code 4: nothing broken on the disk, and nothing said that is not so."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import offer
from tests.training.test_loop import records, same, weights, without_time
from transferkit import Anchor
from transferkit.api import execute, resume
from transferkit.errors import NonFiniteError
from transferkit.recipe import load_recipe
from transferkit.training.checkpoint import verify

MENDED = "TRANSFERKIT_TEST_MENDED"


@dataclasses.dataclass
class Broken:
    """At one step a penalty of value 0 whose gradient is NaN: the root of a square, at zero."""

    at: int = 2
    of: int = 1  # micro-batches: the last of them

    def __post_init__(self) -> None:
        self._calls = 0

    def penalty(self, features, step):
        self._calls += 1
        if step != self.at or self._calls % self.of or os.environ.get(MENDED):
            return features.sum() * 0
        return (features - features.detach()).square().sum().sqrt()


@dataclasses.dataclass
class Pull:
    """An anchor whose target, or importance, is not a number."""

    where: str = "targets"

    def anchors(self, head):
        weight = head.weight
        broken = torch.full_like(weight, float("nan"))
        return [Anchor([weight], [broken]) if self.where == "targets" else Anchor([weight], importance=[broken])]


@dataclasses.dataclass
class Steep:
    """As steep as its weight."""

    def penalty(self, features):
        return features.sum()


@dataclasses.dataclass
class Times:
    """Multiplies the images of one step."""

    at: int = 2
    factor: float = 1e25

    def __post_init__(self) -> None:
        self._calls = 0

    def transform_batch(self, images, labels):
        self._calls += 1
        return images * (self.factor if self._calls > self.at else 1.0), labels


@pytest.fixture
def plugins(registry, monkeypatch):
    """The plugins above, for new runs and for resumed ones."""
    monkeypatch.delenv(MENDED, raising=False)
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    for name, cls in (("broken", Broken), ("pull", Pull), ("steep", Steep)):
        offer(registry, "regularizer", name, cls)
    offer(registry, "observer", "times", Times)


@pytest.fixture
def refused(recipe_file, registry, tmp_path, plugins):
    """Run a recipe that must end with exit code 4; the run folder and the message, checked to be true."""

    def go(**stage) -> tuple[Path, str]:
        with pytest.raises(NonFiniteError) as caught:
            execute(load_recipe(recipe_file(**stage), registry=registry), out=tmp_path / "runs", quiet=True)
        assert caught.value.exit_code == 4
        (run_dir,) = (tmp_path / "runs" / "tiny").iterdir()
        message, (note,) = str(caught.value), caught.value.__notes__
        assert note.startswith(f"look into it with: transferkit replay {run_dir} --stage target")
        assert_true(run_dir, message)
        return run_dir, message

    return go


def assert_true(run_dir: Path, message: str) -> None:
    """Nothing broken was saved, and what the message says of checkpoints is so."""
    result = json.loads((run_dir / "result.json").read_text())
    assert result["status"] == "failed" and result["error"].startswith(message) and result["stages"] == {}
    assert not (run_dir / "stages/target/model").exists()
    checkpoints = sorted((run_dir / "stages/target/checkpoints").glob("step-*"))
    for folder in checkpoints:
        assert verify(folder) is None
        for file in folder.glob("*.safetensors"):
            assert all(t.isfinite().all() for t in load_file(file).values() if t.is_floating_point()), file
    named = re.findall(r"step-\d{6}", message)
    assert named == ([checkpoints[-1].name] if checkpoints else [])
    assert ("There is no checkpoint yet" in message) == (not checkpoints)


STEEP = {
    "regularizers": [{"use": "steep", "weight": 1e6}],
    "optimizer": {"name": "momentum", "lr": 1e38, "momentum": 0.0},
}


def broken(at: int, **options) -> dict:
    return {"regularizers": [{"use": "broken", "weight": 1.0, "at": at, **options}]}


WHERE = {
    "first step": broken(0),
    "second epoch": broken(5),
    "last step, nothing chosen": broken(7) | {"keep": "last"},
    "second micro-batch": broken(1, of=2) | {"accumulate": 2, "batch_size": 4},
    "average": broken(2) | {"ema": {"decay": 0.9}},
    "half precision": broken(2) | {"precision": "bf16"},
    "clipped by norm": broken(2) | {"clip": {"norm": 1.0}},
    "clipped by value": broken(2) | {"clip": {"value": 0.1}},
    "clipped adaptively": broken(2) | {"clip": {"agc": 0.01}},
}


@pytest.mark.parametrize("stage", WHERE.values(), ids=WHERE)
def test_a_gradient_that_is_no_number_changes_nothing(refused, stage) -> None:
    step = stage["regularizers"][0]["at"]
    run_dir, message = refused(**stage)
    assert message.startswith("the gradient of the penalty broken (in ")
    assert f"is not finite at step {step} of stage target" in message
    assert "The weights are as they were before this step." in message
    assert ("The state before this step is in " in message) == (step > 0)
    assert len(re.findall(r"train/\d+", message)) >= 1, "which images"
    if step:
        checkpoint = run_dir / f"stages/target/checkpoints/step-{step:06d}"
        assert json.loads((checkpoint / "state.json").read_text())["step"] == step


@pytest.mark.parametrize("where", ["targets", "importance"])
def test_an_anchor_that_is_no_number_is_named(refused, where) -> None:
    _, message = refused(regularizers=[{"use": "pull", "weight": 0.1, "where": where}])
    assert message.startswith("the pull of the anchor pull is not finite at step 0")
    assert "There is no checkpoint yet." in message


def test_images_that_are_no_numbers_are_named_as_the_cause(refused) -> None:
    _, message = refused(observers=[{"use": "times", "factor": float("inf")}])
    assert message.startswith("the task loss is not finite at step 2")
    assert "; not finite in what was read: the images of target as they were mixed" in message


def test_an_update_that_ruins_the_weights_is_not_saved(refused) -> None:
    """Loss and gradient are finite, the weights after the only step are not."""
    _, message = refused(**STEEP, epochs=None, steps=1, keep="last")
    assert message.startswith("after 1 steps of target (learning rate 1e+38) not finite: the model's ")
    assert "Nothing of this was saved. There is no checkpoint yet." in message


def test_statistics_that_overflow_are_not_saved(refused) -> None:
    """In the last step batch norm divides by an infinite deviation: everything is finite but what it remembers."""
    _, message = refused(observers=[{"use": "times", "at": 7}], keep="last")
    assert "after 8 steps" in message and "running_var" in message and "The newest checkpoint is " in message


def test_weights_ruined_before_are_not_called_unchanged(refused) -> None:
    _, message = refused(**STEEP)
    assert "at step 1 of stage target" in message
    assert "an update before this step ruined them" in message and "as they were" not in message


def test_squares_that_overflow_are_not_called_a_gradient_that_is_no_number(refused) -> None:
    _, message = refused(regularizers=[{"use": "steep", "weight": 1e22}], clip={"norm": 1.0})
    assert message.startswith("the norm of the gradients is not finite at step 0")
    assert "; every gradient is finite, the largest " in message
    assert "but their squares overflow" in message


@pytest.mark.parametrize(
    "stage",
    [
        {"mixup": {"mixup": 0.5}, "ema": {"decay": 0.9}, "optimizer": {"name": "adamw", "lr": 1e-3}},
        {"accumulate": 2, "batch_size": 4},
    ],
    ids=["mixup, average", "accumulation"],
)
def test_a_run_goes_on_exactly_where_it_was_refused(refused, run, monkeypatch, stage) -> None:
    """The step that failed has left nothing behind: neither in the running statistics nor in the records."""
    run_dir, _ = refused(**stage, **broken(6))
    monkeypatch.setenv(MENDED, "1")
    resumed = resume(run_dir, quiet=True)
    whole = run(**stage, **broken(6))
    assert same(weights(whole.run_dir), weights(resumed.run_dir))
    for split in ("train", "val"):
        assert without_time(records(whole.run_dir, split)) == without_time(records(resumed.run_dir, split))


def test_a_model_folder_is_never_written_with_such_weights(tmp_path) -> None:
    from transferkit.model.folder import save_model
    from transferkit.testing import tiny_model

    model = tiny_model()
    with torch.no_grad():
        next(model.net.parameters()).view(-1)[0] = float("inf")
    with pytest.raises(NonFiniteError, match=r"is not written to .*model"):
        save_model(tmp_path / "model", model, None)
    assert not list(tmp_path.iterdir())
