"""What an optimizer step costs in our loop without plugins, in a bare loop, Accelerate, HF Trainer and Lightning.

One thread, one process. The contenders take turns in rounds, in an order drawn anew, a few steps each. Reported per
contender: medians over rounds of the time per step, wall and CPU of this process; the ratio to the bare loop, as the
median of the rounds' ratios with the quartiles; and what it adds to a bare step. The targets are judged by CPU time.

Run: python benchmarks/loop.py [--rounds N] [--only resnet18|tiny_mlp] [--check]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import statistics
import sys
import tempfile

import torch
from contenders import CLASSES, Feed, contenders

BASE = "bare PyTorch"
WARM = 2  # steps of each turn that do not count: caches are someone else's
RESNET_TARGET = 1.03  # ours over bare
SETTINGS = {
    "resnet18": {"size": 96, "batch": 16, "steps": 6},
    "tiny_mlp": {"size": 8, "batch": 16, "steps": 150},
}


def batches(contender, size, batch):
    """Eight batches in the shape that the contender takes; the same numbers for all."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(batch) % CLASSES
    return [contender.item(torch.randn(batch, 3, size, size, generator=generator), labels) for _ in range(8)]


def turn(contender, items, steps):
    """(wall, CPU) microseconds per step of one turn."""
    feed = Feed(items, WARM + steps + 1)
    gc.collect()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # the Trainer prints a summary
        contender(feed)
    if len(feed.marks) != len(feed):
        raise RuntimeError(f"{type(contender).__name__} took {len(feed.marks)} batches instead of {len(feed)}")
    first, last = feed.marks[WARM], feed.marks[-1]
    return tuple(1e6 * (b - a) / steps for a, b in zip(first, last, strict=True))


def measure(architecture, size, batch, steps, rounds):
    """{name: [(wall, CPU) per round]}, microseconds per step."""
    with tempfile.TemporaryDirectory(prefix="transferkit-bench-") as folder:
        sides, missing = contenders(architecture, size, batch, folder)
        print(*missing, sep="\n", end="\n" if missing else "")
        items = {name: batches(side, size, batch) for name, side in sides.items()}
        times = {name: [] for name in sides}
        order, shuffle = list(sides), random.Random(0).shuffle
        for number in range(rounds + 1):
            shuffle(order)
            for name in order:
                spent = turn(sides[name], items[name], steps)
                if number:
                    times[name].append(spent)
        check_same_training(sides)
    return times


def check_same_training(sides):
    """Times mean something only if all took the same steps: the weights must have stayed the same."""
    ours = list(sides["ours"].net.parameters())
    for name, side in sides.items():
        pairs = zip(ours, side.net.parameters(), strict=True)
        if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in pairs):
            raise RuntimeError(f"{name} did not train the same way: its weights are not ours")


def against_base(times, name, clock):
    """The quartiles of the rounds' ratios to the bare loop, and the median of the microseconds added."""
    pairs = [(mine[clock], base[clock]) for mine, base in zip(times[name], times[BASE], strict=True)]
    low, middle, high = statistics.quantiles((a / b for a, b in pairs), n=4)
    return low, middle, high, statistics.median(a - b for a, b in pairs)


def table(times):
    """One line per contender, wall time and CPU time."""
    print(f"  {'':<20} {'wall':>9} {'ratio':>7} {'CPU':>10} {'ratio':>7} {'quartiles':>15} {'added':>9}   [µs]")
    for name, values in times.items():
        wall, cpu = (statistics.median(value[clock] for value in values) for clock in (0, 1))
        low, middle, high, added = against_base(times, name, 1)
        print(
            f"  {name:<20} {wall:9.0f} {against_base(times, name, 0)[1]:7.3f} {cpu:10.0f} {middle:7.3f} "
            f"{low:7.3f}-{high:<7.3f} {added:9.0f}"
        )


def verdicts(architecture, times):
    """(target, whether it holds)."""
    if architecture == "resnet18":
        reached = against_base(times, "ours", 1)[1]
        return [(f"resnet18: ours over bare {reached:.3f} <= {RESNET_TARGET}", reached <= RESNET_TARGET)]
    added = {name: against_base(times, name, 1)[3] for name in times}
    rivals = [name for name in added if name.startswith(("HF", "Lightning"))]
    return [
        (f"{architecture}: ours adds {added['ours']:.0f} µs < {name} {added[name]:.0f} µs", added["ours"] < added[name])
        for name in rivals
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--only", choices=list(SETTINGS))
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    judged = []
    for architecture, setting in SETTINGS.items():
        if arguments.only in (None, architecture):
            print(f"{architecture}, {setting['size']} px, batch {setting['batch']}: a step")
            times = measure(architecture, **setting, rounds=arguments.rounds)
            table(times)
            judged += verdicts(architecture, times)
    for target, holds in judged:
        print(f"{'holds ' if holds else 'MISSED'}  {target}")
    return 1 if arguments.check and not all(holds for _, holds in judged) else 0


if __name__ == "__main__":
    sys.exit(main())
