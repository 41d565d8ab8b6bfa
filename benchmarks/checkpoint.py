"""How long training stands still for a checkpoint, against a plain write of the same bytes.

Ours: `saving.save` of a session in training, from its call to its return: the state is copied, and written while
training goes on. Plain: `safetensors.torch.save_file` of the same tensors into one file, and fsync. They take turns;
wall time; ratios are medians of the ratios within a round. Between two rounds everything is on the disk.

Run: python benchmarks/checkpoint.py [rounds] [--model resnet18] [--check]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from transferkit.atomic import fsync
from transferkit.folder import RunFolder
from transferkit.recipe import load_recipe
from transferkit.training.loop import train
from transferkit.training.prepare import opened
from transferkit.training.progress import Display
from transferkit.training.saving import save
from transferkit.training.signals import StopSignal
from transferkit.training.stage_plan import StagePlan

TARGET = 1.1


def plan(folder, model):
    """One stage of one step: what matters is the state after it."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    np.savez(folder / "d.npz", x_train=pixels, y_train=np.arange(16) % 2)
    stage = {
        "name": "target", "start": "scratch", "dataset": "d", "validation": 0, "steps": 1, "batch_size": 8,
        "workers": 0, "optimizer": {"name": "adamw", "lr": 1e-4},
    }  # fmt: skip
    recipe = {
        "name": "stall", "device": "cpu", "threads": 1, "datasets": {"d": {"npz": "d.npz"}}, "stages": [stage],
        "model": {"name": model, "preprocessing": {"input_size": 64}},
    }  # fmt: skip
    (folder / "r.yaml").write_text(yaml.safe_dump(recipe))
    loaded = load_recipe(folder / "r.yaml")
    return StagePlan(
        recipe=loaded.recipe, stage=loaded.recipe.stages[0], plugins=loaded.plugins("target"),
        corruptions={"d": loaded.corruptions("d")}, seed=0, out=RunFolder(folder / "run").stage("target"), start=None,
        display=Display(quiet=True), stop=StopSignal(),
    )  # fmt: skip


def tensors_of(tree, at=""):
    """{place: tensor} of a nested state."""
    if isinstance(tree, torch.Tensor):
        return {at: tree.detach()}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return {name: one for key, item in items for name, one in tensors_of(item, f"{at}.{key}").items()}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place, opened(plan(Path(place), given.model)) as session:
        train(session)
        session.checkpoints.settle()
        state = tensors_of({"model": session.model.state_dict(), "optimizer": session.optimizer.state_dict()})
        size = sum(tensor.nbytes for tensor in state.values())
        ours, plain = [], []
        for _ in range(given.rounds):
            began = time.perf_counter()
            save(session)
            ours.append(time.perf_counter() - began)
            session.checkpoints.settle()
            began = time.perf_counter()
            save_file(state, Path(place) / "plain.safetensors")
            fsync(Path(place) / "plain.safetensors")
            plain.append(time.perf_counter() - began)
    ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
    print(f"{given.model}, {size / 2**20:.0f} MB of state, {given.rounds} rounds")
    print(f"training stands still   {1000 * statistics.median(ours):8.1f} ms")
    print(f"a plain write           {1000 * statistics.median(plain):8.1f} ms")
    print(f"ratio                   {ratio:8.3f}   (target {TARGET})")
    if given.check and ratio > TARGET:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
