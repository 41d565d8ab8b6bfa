"""Two small tasks on one backbone: noisy images of one colour each, and a model trained on the source task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from transferkit.api import RunResult, execute
from transferkit.plugins.registry import Registry
from transferkit.recipe import load_recipe

COLOURS = {"red": (90, 0, 0), "green": (0, 90, 0), "blue": (0, 0, 90), "dark": (-40, -40, -40)}
STRIPES = ("across", "down", "none")
MODEL = {"name": "test_resnet", "preprocessing": {"input_size": 32, "crop_pct": 1.0}}
N_TARGET, N_SOURCE = 32, 40


def write_data(folder: Path) -> dict[str, dict[str, str]]:
    """The recipe's data sets: `target`, three kinds of stripes, and `source`, four colours; `three` has three
    and `square` as many images as the target."""
    rng = np.random.default_rng(0)

    def stripes(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        pixels = rng.integers(60, 180, (count, 32, 32, 3))
        pixels[labels == 0, ::4] += 70
        pixels[labels == 1, :, ::4] += 70
        return pixels.clip(0, 255).astype(np.uint8), labels

    def colours(count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % classes
        shift = np.array(list(COLOURS.values()))[labels]
        pixels = rng.integers(40, 160, (count, 32, 32, 3)) + shift[:, None, None]
        return pixels.clip(0, 255).astype(np.uint8), labels

    sets = {
        "target": (stripes(N_TARGET), stripes(12), STRIPES),
        "source": (colours(N_SOURCE, 4), colours(12, 4), tuple(COLOURS)),
        "three": (colours(30, 3), colours(12, 3), tuple(COLOURS)[:3]),
        "square": (colours(N_TARGET, 4), colours(12, 4), tuple(COLOURS)),
    }
    for name, (train, val, classes) in sets.items():
        np.savez(
            folder / f"{name}.npz",
            x_train=train[0],
            y_train=train[1],
            x_val=val[0],
            y_val=val[1],
            classes=np.array(classes),
        )
    return {name: {"npz": str(folder / f"{name}.npz")} for name in sets}


def write_recipe(folder: Path, datasets: dict[str, Any], stage: dict[str, Any]) -> Path:
    """A recipe of one stage called `target`, with small defaults."""
    default = {"name": "target", "dataset": "target", "epochs": 5, "batch_size": 8, "workers": 0}
    default |= {"optimizer": {"name": "momentum", "lr": 0.01}}
    content = {"name": "tiny", "model": MODEL, "datasets": datasets, "device": "cpu", "stages": [default | stage]}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def run(folder: Path, datasets: dict[str, Any], registry: Registry | None = None, **stage: Any) -> RunResult:
    """Train it in a folder of its own."""
    loaded = load_recipe(write_recipe(folder, datasets, stage), registry=registry)
    return execute(loaded, out=folder / "runs", quiet=True)


def weights(result: RunResult | Path) -> dict[str, torch.Tensor]:
    """Of the finished model."""
    run_dir = result if isinstance(result, Path) else result.run_dir
    return load_file(run_dir / "stages/target/model/model.safetensors")


def same(a: RunResult, b: RunResult) -> bool:
    """Bit for bit."""
    ours, theirs = weights(a), weights(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def records(result: RunResult | Path, split: str = "train") -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without times."""
    run_dir = result if isinstance(result, Path) else result.run_dir
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    timed = ("seconds", "images_per_second")
    return [{k: v for k, v in line.items() if k not in timed} for line in lines if line["split"] == split]


def said(result: RunResult | Path) -> list[dict[str, float]]:
    """What the curriculum reported of each epoch."""
    return [record["plugins"]["task_interpolation"] for record in records(result)]
