"""Timing of several variants side by side: one thread, one process, taking turns, medians.

CPU time of this process rather than wall time, so that other programs on the machine count less.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping

import torch


def measure(variants: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 3) -> dict[str, list[float]]:
    """Milliseconds of each variant in each round; within a round the order is drawn anew."""
    torch.set_num_threads(1)
    order = list(variants)
    shuffle = random.Random(0).shuffle
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(warmup + rounds):
        shuffle(order)
        for name in order:
            began = time.process_time()
            variants[name]()
            if turn >= warmup:
                times[name].append(1e3 * (time.process_time() - began))
    return times


def ratio(times: Mapping[str, list[float]], ours: str, theirs: str) -> float:
    """The median over rounds of one variant's time over another's in the same round."""
    return statistics.median(a / b for a, b in zip(times[ours], times[theirs], strict=True))


def table(times: Mapping[str, list[float]], base: str) -> None:
    """One line per variant: its median and its ratio to `base`."""
    for name, values in times.items():
        print(f"  {name:<44} {statistics.median(values):9.2f} ms   x {ratio(times, name, base):.3f}")
