"""What an optimizer step costs in our loop without plugins, in a bare loop, Accelerate, HF Trainer and Lightning.

One thread, one process. The contenders take turns in rounds, in an order drawn anew, a few steps each. Reported per
contender: medians over rounds of the time per step, wall and CPU of this process; the ratio to the bare loop, as the
median of the rounds' ratios with the quartiles; and what it adds to a bare step. The targets are judged by CPU time.

Run: python benchmarks/loop.py [rounds] [--only resnet18|tiny_mlp] [--check]
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import sys
import tempfile

import torch
from contenders import CLASSES, Feed, contenders
from interleaved import interleaved, options, quartiles, ratio, verdict

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
    """{name: microseconds per step in each round}, by the clock on the wall and of CPU time."""
    with tempfile.TemporaryDirectory(prefix="transferkit-bench-") as folder:
        sides, missing = contenders(architecture, size, batch, folder)
        print(*missing, sep="\n", end="\n" if missing else "")
        items = {name: batches(side, size, batch) for name, side in sides.items()}
        turns = {name: lambda name=name: turn(sides[name], items[name], steps) for name in sides}
        times = interleaved(turns, rounds)
        check_same_training(sides)
    return tuple({name: [value[clock] for value in values] for name, values in times.items()} for clock in (0, 1))


def check_same_training(sides):
    """Times mean something only if all took the same steps: the weights must have stayed the same."""
    ours = list(sides["ours"].net.parameters())
    for name, side in sides.items():
        pairs = zip(ours, side.net.parameters(), strict=True)
        if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in pairs):
            raise RuntimeError(f"{name} did not train the same way: its weights are not ours")


def added(times, name):
    """The median of the microseconds that a step takes beyond a bare one."""
    return statistics.median(mine - bare for mine, bare in zip(times[name], times[BASE], strict=True))


def table(walls, times):
    """One line per contender, wall time and CPU time."""
    print(f"  {'':<20} {'wall':>9} {'ratio':>7} {'CPU':>10} {'ratio':>7} {'quartiles':>15} {'added':>9}   [µs]")
    for name in times:
        wall, cpu = statistics.median(walls[name]), statistics.median(times[name])
        low, middle, high = quartiles(times, name, BASE)
        print(
            f"  {name:<20} {wall:9.0f} {ratio(walls, name, BASE):7.3f} {cpu:10.0f} {middle:7.3f} "
            f"{low:7.3f}-{high:<7.3f} {added(times, name):9.0f}"
        )


def targets(architecture, times):
    """{target: whether it holds}."""
    if architecture == "resnet18":
        reached = ratio(times, "ours", BASE)
        return {f"resnet18: ours over bare {reached:.3f} <= {RESNET_TARGET}": reached <= RESNET_TARGET}
    ours = added(times, "ours")
    rivals = {name: added(times, name) for name in times if name.startswith(("HF", "Lightning"))}
    return {
        f"{architecture}: ours adds {ours:.0f} µs < {name} {one:.0f} µs": ours < one for name, one in rivals.items()
    }


def main():
    given = options(__doc__, 16, SETTINGS).parse_args()
    judged: dict[str, bool] = {}
    torch.manual_seed(0)
    for architecture in given.only:
        setting = SETTINGS[architecture]
        print(f"{architecture}, {setting['size']} px, batch {setting['batch']}: a step")
        walls, times = measure(architecture, **setting, rounds=given.rounds)
        table(walls, times)
        judged |= targets(architecture, times)
    return verdict(judged, given.check)


if __name__ == "__main__":
    sys.exit(main())
