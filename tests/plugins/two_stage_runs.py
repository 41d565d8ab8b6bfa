"""Runs of two stages on drawn digits with a small perceptron: what regularizers with a source are tried on."""

from __future__ import annotations

import json
import os
import signal
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.training.conftest import offer
from transferkit.api import RunResult, execute, resume
from transferkit.errors import Interrupted
from transferkit.plugins.registry import Registry, discover
from transferkit.recipe import load_recipe

STOPPED = "TRANSFERKIT_TEST_STOPPED"
MODEL = {
    "name": "transferkit_mlp",
    "options": {"in_chans": 1, "img_size": 16, "hidden": [12, 10]},
    "preprocessing": {"input_size": 16, "crop_pct": 1.0, "mean": [0.2], "std": [0.3]},
}
STAGE = {
    "epochs": 2,
    "batch_size": 16,
    "workers": 0,
    "optimizer": {"name": "momentum", "lr": 0.02},
    "augmentation": {"none": True},
}


@dataclass
class StopAt:
    """Send a signal at a step, once."""

    step: int = 4

    def step_end(self, step):
        if step == self.step and not os.environ.get(STOPPED):
            os.environ[STOPPED] = "1"
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Idle:
    """Does nothing; keeps the recipe the same shape."""

    step: int = 4

    def step_end(self, step):
        return None


def recipe(**target: Any) -> dict[str, Any]:
    """A source stage on digits and a target stage on the same digits in permuted pixels; keys are the target's."""
    return {
        "name": "two-stages",
        "device": "cpu",
        "threads": 1,
        "model": deepcopy(MODEL),
        "datasets": {
            "digits": {"world": {"kind": "digits", "train": 5, "val": 2, "size": 16}},
            "permuted": {"from": "digits", "corruptions": [{"use": "permuted_pixels"}]},
        },
        "stages": [
            {"name": "source", "start": "scratch", "dataset": "digits", **STAGE},
            {"name": "target", "start": "source", "dataset": "permuted", **STAGE, **target},
        ],
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    """The recipe as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def run(folder: Path, content: dict[str, Any], registry: Registry | None = None) -> RunResult:
    """Run it to its end."""
    loaded = load_recipe(write(folder, content), registry=registry or discover())
    return execute(loaded, out=folder / "runs", quiet=True)


def weights(run_dir: Path, stage: str = "target") -> dict[str, torch.Tensor]:
    """The saved model of a stage."""
    return load_file(run_dir / "stages" / stage / "model" / "model.safetensors")


def records(run_dir: Path, stage: str = "target", split: str = "train") -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without times."""
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "images_per_second")}
        for line in lines
        if line["stage"] == stage and line["split"] == split
    ]


def resumes_exactly(folder: Path, monkeypatch: pytest.MonkeyPatch, **target: Any) -> SimpleNamespace:
    """Run whole, and again stopped in the middle of the target's first epoch and resumed: weights and records agree."""
    registry = discover()
    offer(registry, "observer", "idle", Idle)
    offer(registry, "observer", "stopper", StopAt)
    monkeypatch.delenv(STOPPED, raising=False)
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    whole = run(folder / "whole", recipe(**target, observers=[{"use": "idle"}]), registry)
    stopping = recipe(**target, observers=[{"use": "stopper", "name": "idle"}])
    with pytest.raises(Interrupted):
        run(folder / "stopped", stopping, registry)
    (run_dir,) = (folder / "stopped" / "runs" / "two-stages").iterdir()
    resumed = resume(run_dir, quiet=True)
    assert resumed.status == "done"
    one, other = weights(whole.run_dir), weights(resumed.run_dir)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    for split in ("train", "val"):
        assert records(whole.run_dir, split=split) == records(resumed.run_dir, split=split)
    return SimpleNamespace(whole=whole, resumed=resumed)
