"""What the hooks of the training step cost: a step where nobody implements them, and with a plugin of each that does
nothing; with `--against FOLDER`, another checkout, also what a step costs there.

ResNet-18 at 96 px with batches of 16 and a tiny MLP, SGD with momentum, one thread. The other checkout has a
process of its own, as our plain step has; all take turns, in an order drawn anew, a few steps each. Medians over
rounds of CPU time, and of the ratios to our step without a plugin.

Run: python benchmarks/hooks.py [rounds] [--against FOLDER] [--only resnet18|tiny_mlp] [--check]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, cast

import torch
from contenders import Ours
from interleaved import interleaved, options, quartiles, table, verdict
from loop import SETTINGS, batches, turn

BASE, OTHER = "no plugin", "the other checkout"
TARGET = 1.01


class Look:
    def gradients(self, gradients):
        return None


class Put:
    def project(self, parameters):
        return None


class PutFromBefore:
    def project(self, parameters, previous):
        return None


class Usual:
    def loss(self, logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


class Own:
    def parameters(self):
        return torch.nn.Linear(1, 1)

    def setup(self):
        return None


KINDS: dict[str, Any] = {
    "gradients": ("regularizer", Look),
    "project": ("regularizer", Put),
    "project with previous": ("regularizer", PutFromBefore),
    "loss": ("loss", Usual),
    "parameters": ("regularizer", Own),
}


def with_plugin(name):
    """The plugins of a run with the one of this name."""
    from transferkit.plugins.distributions import Owner
    from transferkit.plugins.hooks import Plugin, RunPlugins
    from transferkit.plugins.registry import Component

    kind, cls = KINDS[name]
    component = Component(kind, cls.__name__, cls, Owner(cls.__name__, "benchmark", "0"))
    return RunPlugins([Plugin(kind, cls.__name__, cls(), component)])


def work(setting, variants):
    """A process: for every line that it is sent, it trains a turn of that variant and says how long a step took."""
    shape, made = SETTINGS[setting], {}
    with tempfile.TemporaryDirectory(prefix="transferkit-bench-") as folder:
        for number, name in enumerate(variants):
            plugins = {"plugins": with_plugin(name)} if name in KINDS else {}
            made[name] = Ours(setting, shape["size"], shape["batch"], f"{folder}/{number}", **plugins)
        items = batches(made[variants[0]], shape["size"], shape["batch"])
        print("ready", flush=True)
        for line in sys.stdin:
            print(turn(made[line.strip()], items, shape["steps"])[1], flush=True)


class Worker:
    """A process with some variants, in this checkout or another."""

    def __init__(self, setting, variants, checkout=None):
        paths = [] if checkout is None else [checkout, checkout / "plugins"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
        command = [sys.executable, __file__, "--work", setting, *variants]
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.given, self.said = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
        assert self.said.readline() == "ready\n"

    def turn(self, variant):
        """Milliseconds of CPU time per step of one turn."""
        print(variant, file=self.given, flush=True)
        return float(self.said.readline()) / 1e3

    def end(self):
        self.given.close()
        self.process.wait()


def main():
    if sys.argv[1:2] == ["--work"]:
        return work(sys.argv[2], sys.argv[3:])
    parser = options(__doc__, 40, SETTINGS)
    parser.add_argument("--against", type=Path, help="the folder of another checkout")
    given, targets = parser.parse_args(), {}
    for setting in given.only:
        base, plugins = Worker(setting, [BASE]), Worker(setting, list(KINDS))
        turns: dict[str, Any] = {BASE: lambda one=base: one.turn(BASE)}
        turns |= {name: lambda one=plugins, name=name: one.turn(name) for name in KINDS}
        workers = [base, plugins]
        if given.against is not None:
            workers.append(Worker(setting, [OTHER], given.against.resolve()))
            turns[OTHER] = lambda one=workers[-1]: one.turn(OTHER)
        times = interleaved(turns, given.rounds)
        for worker in workers:
            worker.end()
        print(setting)
        table(times, BASE)
        if given.against is not None:
            low, middle, high = quartiles(times, BASE, OTHER)
            sentence = f"{setting}: a step without plugins {middle:.3f} ({low:.3f}-{high:.3f}) of the other checkout's"
            targets[f"{sentence} <= {TARGET}"] = middle <= TARGET
    return verdict(targets, given.check)


if __name__ == "__main__":
    sys.exit(main())
