"""What all benchmarks share: their options, variants that take turns, medians of ratios, and the verdict on targets.

One thread, one process. CPU time of this process rather than wall time, so that other programs count less.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

Value = TypeVar("Value")
torch.set_num_threads(1)


def options(doc: str, rounds: int, only: Mapping[str, object] | None = None) -> argparse.ArgumentParser:
    """`[rounds] [--check]`, and `--only NAME` where there are several settings: `only` is a list in any case."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=rounds)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    if only is not None:
        parser.add_argument("--only", choices=list(only), nargs=1, default=list(only))
    return parser


def interleaved(variants: Mapping[str, Callable[[], Value]], rounds: int, warmup: int = 1) -> dict[str, list[Value]]:
    """What each variant returns in each round; within a round the order is drawn anew."""
    order, shuffle = list(variants), random.Random(0).shuffle
    found: dict[str, list[Value]] = {name: [] for name in variants}
    for turn in range(warmup + rounds):
        shuffle(order)
        for name in order:
            value = variants[name]()
            if turn >= warmup:
                found[name].append(value)
    return found


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time that it takes."""
    began = time.process_time()
    work()
    return 1e3 * (time.process_time() - began)


def measure(variants: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 3) -> dict[str, list[float]]:
    """Milliseconds of each variant in each round."""
    timed = {name: lambda work=work: milliseconds(work) for name, work in variants.items()}
    return interleaved(timed, rounds, warmup)


def ratio(times: Mapping[str, list[float]], ours: str, theirs: str) -> float:
    """The median over rounds of one variant's time over another's in the same round."""
    return statistics.median(a / b for a, b in zip(times[ours], times[theirs], strict=True))


def quartiles(times: Mapping[str, list[float]], ours: str, theirs: str) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile of the same ratios."""
    low, middle, high = statistics.quantiles((a / b for a, b in zip(times[ours], times[theirs], strict=True)), n=4)
    return low, middle, high


def table(times: Mapping[str, list[float]], base: str) -> None:
    """One line per variant: its median and its ratio to `base`."""
    for name, values in times.items():
        print(f"  {name:<44} {statistics.median(values):9.2f} ms   x {ratio(times, name, base):.3f}")


def verdict(targets: Mapping[str, bool], check: bool = True) -> int:
    """Print which targets hold; the exit code."""
    for target, holds in targets.items():
        print(f"{'holds ' if holds else 'MISSED'}  {target}")
    return int(check and not all(targets.values()))
