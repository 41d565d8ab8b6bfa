"""What looking at the gradients costs a training step: the same step without, with, and with what it is part of.

ResNet-18, 96 px, batch 16, SGD with momentum, one thread. The variants take turns in an order drawn anew, each with a
whole step. Forward and backward pass vary by more than what is measured, so what comes after them is compared, and the
difference given as a share of a whole step.

Run: python benchmarks/finite.py [rounds] [--check]
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time

import torch
from step import Step

from transferkit.recipe.schema import Clip
from transferkit.training.non_finite import Buffers
from transferkit.training.optimization import clip_gradients

TARGET = 1.01


def variants(step):
    """{name: what is done between backward pass and optimizer}"""
    parameters, buffers = list(step.model.parameters()), Buffers(step.model)
    norm = Clip(norm=1e9)

    def check(clip=None):
        buffers.keep()
        math.isfinite(float(clip_gradients(parameters, clip)))

    return {
        "nothing": lambda: None,
        "checked": check,
        "clipped by torch": lambda: torch.nn.utils.clip_grad_norm_(parameters, norm.norm),
        "clipped and checked": lambda: check(norm),
    }


def measure(rounds, warmup=2):
    """Milliseconds of the backward pass, and of each variant with the optimizer's step, by round."""
    step, shuffle = Step(), random.Random(0).shuffle
    sides = variants(step)
    order, backward, after = list(sides), [], {name: [] for name in sides}
    for turn in range(warmup + rounds):
        shuffle(order)
        for name in order:
            began = time.process_time()
            step.backward()
            middle = time.process_time()
            sides[name]()
            step.optimizer.step()
            ended = time.process_time()
            if turn >= warmup:
                backward.append(1e3 * (middle - began))
                after[name].append(1e3 * (ended - middle))
    return backward, after


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", type=int, nargs="?", default=40)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the target is missed")
    arguments = parser.parse_args()
    backward, after = measure(arguments.rounds)
    median = {name: statistics.median(times) for name, times in after.items()}
    base = statistics.median(backward)
    print(f"  forward and backward {base:.1f} ms")
    for name, ours in median.items():
        print(f"  {name:<20} {ours:7.2f} ms with the optimizer   x {(base + ours) / (base + median['nothing']):.4f}")
    reached = (base + median["checked"]) / (base + median["nothing"])
    beyond = (base + median["clipped and checked"]) / (base + median["clipped by torch"])
    holds = max(reached, beyond) <= TARGET
    print(f"{'holds ' if holds else 'MISSED'}  checked {reached:.4f}, beyond clipping {beyond:.4f} <= {TARGET}")
    return 1 if arguments.check and not holds else 0


if __name__ == "__main__":
    sys.exit(main())
