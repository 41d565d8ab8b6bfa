"""A tiny data set, a tiny recipe, and a registry to which tests add plugins of their own."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import transferkit
from transferkit.api import RunResult, execute
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry, discover
from transferkit.recipe import load_recipe

CLASSES = ["red", "green", "blue"]


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy images of one colour each: 30 to train, 12 to validate, 32 px, three classes."""
    rng = np.random.default_rng(0)

    def images(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        pixels = rng.integers(0, 120, (count, 32, 32, 3))
        pixels[np.arange(count), :, :, labels] += 90
        return pixels.astype(np.uint8), labels

    train, val = images(30), images(12)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, x_train=train[0], y_train=train[1], x_val=val[0], y_val=val[1], classes=np.array(CLASSES))
    return path


@pytest.fixture
def drawn() -> None:
    """For tests that look at the confusion matrices on TensorBoard."""


@pytest.fixture(autouse=True)
def _no_confusion_matrices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn after every epoch they take a quarter of so short a run, and nobody looks."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("transferkit.training.metrics.log_confusion", lambda *given: None)


@pytest.fixture
def registry() -> Registry:
    """What is installed; tests may add to it."""
    return discover()


def offer(registry: Registry, kind: str, name: str, cls: type) -> None:
    """Register a plugin as an installed package would."""
    module = types.ModuleType(f"transferkit_{name}")

    def transferkit_register(register: Any) -> None:
        getattr(register, kind)(name, cls)

    module.transferkit_register = transferkit.hookimpl(transferkit_register)  # type: ignore[attr-defined]
    registry.load(module, Owner(name, f"transferkit-{name}", "1.0"))


Run = Callable[..., RunResult]


@pytest.fixture
def recipe_file(tmp_path: Path, tiny_npz: Path) -> Callable[..., Path]:
    """Write a recipe: the stage's keys are arguments, other sections go into `top`."""

    def write(top: dict[str, Any] | None = None, **stage: Any) -> Path:
        recipe = {
            "name": "tiny",
            "model": {"name": "test_resnet", "preprocessing": {"input_size": 32}},
            "datasets": {"tiny": {"npz": str(tiny_npz)}},
            "device": "cpu",
            "stages": [
                {
                    "name": "target",
                    "start": "scratch",
                    "dataset": "tiny",
                    "epochs": 2,
                    "batch_size": 8,
                    "workers": 0,
                    "optimizer": {"name": "momentum", "lr": 0.01},
                }
                | stage
            ],
        } | (top or {})
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def run(tmp_path: Path, registry: Registry, recipe_file: Callable[..., Path]) -> Run:
    """Run a tiny recipe in a folder of its own."""

    def go(top: dict[str, Any] | None = None, **stage: Any) -> RunResult:
        loaded = load_recipe(recipe_file(top, **stage), registry=registry)
        return execute(loaded, out=tmp_path / "runs", quiet=True)

    return go
