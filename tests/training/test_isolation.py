"""What fails while a stage trains costs what it is for: a look at the model, a teardown; and says whose it was."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import transferkit
from tests.training.conftest import offer
from transferkit.training.trainer import Trainer

ENDED: list[str] = []


@dataclasses.dataclass
class Looks:
    """Fails in training, in another way after the second epoch, and works on the finished model."""

    fails: bool = True

    def analyze(self, session):
        epoch = session.out.name
        torch.rand(3)  # what is drawn here must not matter to training
        if self.fails and epoch.startswith("epoch"):
            raise SystemExit(3) if epoch.endswith("2") else ZeroDivisionError("by design")
        return transferkit.Report(metrics={"one": 1.0})


@dataclasses.dataclass
class Watches:
    """Two of these with equal options, of which each fails in teardown."""

    mean: torch.Tensor = dataclasses.field(default_factory=lambda: torch.zeros(2), init=False)

    def teardown(self, session, error):
        ENDED.append(type(error).__name__)
        raise RuntimeError("not closed")


@dataclasses.dataclass
class Returns:
    value: str = "text"

    def epoch_end(self):
        return {"text": self.value}


@pytest.fixture
def go(run, registry, monkeypatch):
    offer(registry, "analyzer", "looks", Looks)
    offer(registry, "observer", "watches", Watches)
    offer(registry, "observer", "returns", Returns)
    closed: list[Trainer] = []
    close = Trainer.close
    monkeypatch.setattr(Trainer, "close", lambda self: (closed.append(self), close(self)))
    ENDED.clear()

    def go(analyses: list[dict[str, Any]], observers: list[dict[str, Any]], **stage: Any) -> Any:
        closed.clear()
        try:
            return run(top={"analyses": analyses}, observers=observers, workers=0, epochs=3, **stage)
        finally:
            assert len(closed) == 1

    return go


def test_a_look_and_a_teardown_that_fail_cost_themselves(go):
    two = [{"use": "watches", "name": "a"}, {"use": "watches", "name": "b"}]
    failing = go([{"use": "looks", "every": 1}], two)
    assert failing.status == "done" and ENDED == ["NoneType", "NoneType"]
    entry = json.loads((failing.run_dir / "result.json").read_text())["stages"]["target"]
    assert entry["failed_analyses"] == {"looks": [1, 2, 3]}
    told = [text for text in entry["warnings"] if "looks failed" in text or "teardown" in text]
    assert told == [
        "the analysis looks failed while the stage trained: ZeroDivisionError: by design",
        "the analysis looks failed while the stage trained: SystemExit: 3",
        "teardown of the observer 'a' (transferkit-watches 1.0) failed: RuntimeError: not closed",
        "teardown of the observer 'b' (transferkit-watches 1.0) failed: RuntimeError: not closed",
    ]
    log = (failing.run_dir / "run.log").read_text()
    assert log.count("warning: the analysis looks failed while the stage trained: ZeroDivisionError") == 1
    assert log.count('ZeroDivisionError("by design")') >= 2 and "after epoch 2: Traceback" in log
    folders = {path.name for path in (failing.run_dir / "analyses" / "looks").iterdir()}
    assert "report.json" in folders and not any(name.startswith("epoch") for name in folders)
    assert (failing.run_dir / "stages" / "target" / "checkpoints" / "last").exists()

    plain = go([{"use": "looks", "every": 1, "fails": False}], [])
    assert "failed_analyses" not in json.loads((plain.run_dir / "result.json").read_text())["stages"]["target"]
    one, other = (load_file(r.run_dir / "stages/target/model/model.safetensors") for r in (failing, plain))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_an_observer_returns_is_its_own_mistake(go):
    with pytest.raises(ValueError, match="could not convert") as caught:
        go([], [{"use": "returns"}, {"use": "watches"}])
    assert any(
        "epoch_end of the observer 'returns' (transferkit-returns 1.0)" in note for note in caught.value.__notes__
    )
    assert ENDED == ["ValueError"]
