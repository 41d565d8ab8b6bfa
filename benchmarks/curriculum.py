"""What a task interpolation costs per optimizer step, against plain fine-tuning at the same batch size.

Whole steps of our own loop, from one request for a batch to the next: loading from memory, mixing, forward and
backward pass, update. Separate heads, lam = 0.5 throughout, SGD with momentum, no augmentation. The variants take
turns, one epoch of a few steps each, in an order drawn anew; CPU time of one thread; ratios are medians of the ratios
within a round.

Run: python benchmarks/curriculum.py [rounds] [--only cnn|resnet18] [--check]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from interleaved import ratio, table

from transferkit.folder import RunFolder
from transferkit.recipe import load_recipe
from transferkit.training.loop import train
from transferkit.training.prepare import opened
from transferkit.training.progress import Display
from transferkit.training.signals import StopSignal
from transferkit.training.stage_plan import StagePlan

TARGET = 1.05  # a mixture step over a plain step
CLASSES, WARM = 5, 2
SETTINGS = {
    "cnn": {"architecture": "transferkit_cnn10", "size": 32, "batch": 16, "steps": 8},
    "resnet18": {"architecture": "resnet18", "size": 96, "batch": 32, "steps": 4},
}
VARIANTS = {"plain": None, "mixture": {}, "mixup": {"mode": "mixup"}, "coupled": {"mode": "coupled"}}


def write_data(folder, images, size):
    """Two sets of noise, as data sets of a recipe."""
    rng, found = np.random.default_rng(0), {}
    for name in ("target", "source"):
        pixels = rng.integers(0, 256, (images, size, size, 3), dtype=np.uint8)
        path = folder / f"{name}.npz"
        np.savez(path, x_train=pixels, y_train=np.arange(images) % CLASSES, classes=[*"abcde"])
        found[name] = {"npz": str(path)}
    return found


def plan(folder, datasets, start, setting, rounds, options):
    """One stage, long enough that lam is 0.5 as long as it is timed."""
    stage = {
        "name": "target", "start": start, "dataset": "target", "validation": 0, "epochs": 2 * (rounds + 1),
        "batch_size": setting["batch"], "workers": 0, "augmentation": {"none": True},
        "optimizer": {"name": "momentum", "lr": 1e-4},
    }  # fmt: skip
    if options is not None:
        stage["curriculum"] = {"use": "task_interpolation", "source": "source", "lams": [0.5, 1]} | options
    model = {"name": setting["architecture"], "preprocessing": {"input_size": setting["size"], "crop_pct": 1.0}}
    recipe = {"name": "curriculum", "model": model, "datasets": datasets, "device": "cpu", "stages": [stage]}
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    loaded = load_recipe(folder / "recipe.yaml")
    stage = loaded.recipe.stages[0]
    return StagePlan(
        recipe=loaded.recipe, stage=stage, plugins=loaded.plugins(stage),
        corruptions={name: loaded.corruptions(name) for name in datasets}, seed=0,
        out=RunFolder(folder).stage(stage.name), start=start if isinstance(start, Path) else None,
        display=Display(quiet=True), stop=StopSignal(),
    )  # fmt: skip


class Turn:
    """One epoch of a prepared session; the milliseconds of CPU time per step."""

    def __init__(self, session):
        self.session = session
        session.save = lambda: None  # a checkpoint belongs to an epoch, not to a step
        self.marks, self.sizes, self._epoch = [], [], session.loader.epoch
        session.loader.epoch = self.batches

    def batches(self, epoch, start=0):
        """The session's own batches, with a note of the time at each request."""
        given = self._epoch(epoch, start)
        while True:
            self.marks.append(time.process_time())
            batch = next(given, None)
            if batch is None:
                return
            self.sizes.append({name: len(labels) for name, labels in batch.labels.items()})
            yield batch

    def __call__(self):
        self.marks.clear()
        session = self.session
        session.total_steps = session.state.step + session.updates_per_epoch
        gc.collect()
        train(session)
        return 1e3 * (self.marks[-1] - self.marks[WARM]) / (len(self.marks) - 1 - WARM)


def measure(setting, rounds):
    """{variant: milliseconds per step in each round}."""
    images = setting["batch"] * (WARM + setting["steps"])
    with tempfile.TemporaryDirectory(prefix="transferkit-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        datasets = write_data(folder, images, setting["size"])
        start = save_start(folder, datasets, setting)
        turns = {}
        for variant, options in VARIANTS.items():
            made = plan(folder / variant, datasets, str(start), setting, rounds, options)
            made.start = start
            turns[variant] = Turn(stack.enter_context(opened(made)))
        times = {variant: [] for variant in turns}
        order, shuffle = list(turns), random.Random(0).shuffle
        for number in range(rounds + 1):
            shuffle(order)
            for variant in order:
                spent = turns[variant]()
                if number:
                    times[variant].append(spent)
        check_sizes(turns, setting["batch"])
    return times


def save_start(folder, datasets, setting):
    """A model folder to start from, untrained: coupling needs the features of some model."""
    from transferkit.model_folder import save_model

    with opened(plan(folder / "start", datasets, "scratch", setting, 0, None)) as session:
        save_model(folder / "model", session.model, None)
    return folder / "model"


def check_sizes(turns, batch):
    """Times mean something only if every step had as many images as it should."""
    half = {"target": batch // 2, "source": batch // 2}
    wanted = {"plain": {"target": batch}, "mixture": half}
    for variant, turn in turns.items():
        size = wanted.get(variant, {"target": batch, "source": batch})
        if any(found != size for found in turn.sizes):
            raise RuntimeError(f"{variant} has batches of {turn.sizes[0]} instead of {size}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", type=int, nargs="?", default=10)
    parser.add_argument("--only", choices=list(SETTINGS))
    parser.add_argument("--check", action="store_true", help="exit with 1 if the target is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    missed = False
    for name, setting in SETTINGS.items():
        if arguments.only not in (None, name):
            continue
        print(f"{setting['architecture']}, {setting['size']} px, batch {setting['batch']}: a step")
        times = measure(setting, arguments.rounds)
        table(times, "plain")
        reached = ratio(times, "mixture", "plain")
        missed |= reached > TARGET
        print(f"mixture against plain: {reached:.3f} (target <= {TARGET})")
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
