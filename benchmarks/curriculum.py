"""What a task interpolation costs per optimizer step, against plain fine-tuning at the same batch size.

Whole steps of our own loop, from one request for a batch to the next: loading from memory, mixing, forward and
backward pass, update. Separate heads, lam = 0.5 throughout, SGD with momentum, no augmentation. The variants take
turns, one epoch of a few steps each, in an order drawn anew; CPU time of one thread; ratios are medians of the ratios
within a round.

Run: python benchmarks/curriculum.py [rounds] [--only cnn|resnet18] [--check]
"""

from __future__ import annotations

import contextlib
import gc
import sys
import tempfile
import time
from pathlib import Path

from interleaved import interleaved, options, ratio, table, verdict
from stage import noise, plan

from transferkit.model.folder import save_model
from transferkit.training.loop import train
from transferkit.training.prepare import opened

TARGET = 1.05  # a mixture step over a plain step
CLASSES, WARM = 5, 2
SETTINGS = {
    "cnn": {"architecture": "transferkit_cnn10", "size": 32, "batch": 16, "steps": 8},
    "resnet18": {"architecture": "resnet18", "size": 96, "batch": 32, "steps": 4},
}
VARIANTS = {"plain": None, "mixture": {}, "mixup": {"mode": "mixup"}, "coupled": {"mode": "coupled"}}


def session(folder, datasets, setting, rounds, start=None, options=None):
    """One stage, long enough that lam is 0.5 as long as it is timed."""
    stage = {
        "epochs": 2 * (rounds + 1), "batch_size": setting["batch"], "augmentation": {"none": True},
        "optimizer": {"name": "momentum", "lr": 1e-4},
    }  # fmt: skip
    if options is not None:
        stage["curriculum"] = {"use": "task_interpolation", "source": "source", "lams": [0.5, 1]} | options
    return opened(plan(folder, setting["architecture"], setting["size"], datasets, start, **stage))


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
        sets = ("target", "source")
        datasets = {name: noise(folder / f"{name}.npz", images, setting["size"], CLASSES) for name in sets}
        # untrained: coupling needs the features of some model
        with session(folder / "start", datasets, setting, 0) as made:
            start = save_model(folder / "model", made.model, None)
        turns = {
            variant: Turn(stack.enter_context(session(folder / variant, datasets, setting, rounds, start, options)))
            for variant, options in VARIANTS.items()
        }
        times = interleaved(turns, rounds)
        check_sizes(turns, setting["batch"])
    return times


def check_sizes(turns, batch):
    """Times mean something only if every step had as many images as it should."""
    half = {"target": batch // 2, "source": batch // 2}
    wanted = {"plain": {"target": batch}, "mixture": half}
    for variant, turn in turns.items():
        size = wanted.get(variant, {"target": batch, "source": batch})
        if any(found != size for found in turn.sizes):
            raise RuntimeError(f"{variant} has batches of {turn.sizes[0]} instead of {size}")


def main():
    given, targets = options(__doc__, 10, SETTINGS).parse_args(), {}
    for name in given.only:
        setting = SETTINGS[name]
        print(f"{setting['architecture']}, {setting['size']} px, batch {setting['batch']}: a step")
        times = measure(setting, given.rounds)
        table(times, "plain")
        reached = ratio(times, "mixture", "plain")
        targets[f"{name}: mixture against plain {reached:.3f} <= {TARGET}"] = reached <= TARGET
    return verdict(targets, given.check)


if __name__ == "__main__":
    sys.exit(main())
