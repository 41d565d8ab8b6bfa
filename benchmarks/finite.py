"""What looking at the gradients costs a training step: the same step without, with, and with what it is part of.

ResNet-18, 96 px, batch 16, SGD with momentum, one thread. The variants take turns in an order drawn anew, each with a
whole step. Forward and backward pass vary by more than what is measured, so what comes after them is compared, and the
difference given as a share of a whole step.

Run: python benchmarks/finite.py [rounds] [--check]
"""

from __future__ import annotations

import math
import statistics
import sys

import torch
from interleaved import interleaved, milliseconds, options, verdict
from step import Step

from transferkit.recipe.schema import Clip
from transferkit.training.buffers import Buffers
from transferkit.training.optimization import clip_gradients

TARGET = 1.01


def variants(step):
    """{name: what is done between backward pass and optimizer}"""
    parameters, buffers = list(step.model.parameters()), Buffers(step.model)
    limit = 1e9
    norm = Clip(norm=limit)

    def check(clip=None):
        buffers.keep()
        math.isfinite(float(clip_gradients(parameters, clip)))

    return {
        "nothing": lambda: None,
        "checked": check,
        "clipped by torch": lambda: torch.nn.utils.clip_grad_norm_(parameters, limit),
        "clipped and checked": lambda: check(norm),
    }


def main():
    given, step = options(__doc__, 40).parse_args(), Step()

    def timed(between):
        """Milliseconds of the backward pass, and of what follows."""
        return milliseconds(step.backward), milliseconds(lambda: (between(), step.optimizer.step()))

    turns = {name: lambda between=between: timed(between) for name, between in variants(step).items()}
    times = interleaved(turns, given.rounds, warmup=2)
    base = statistics.median(backward for values in times.values() for backward, _ in values)
    after = {name: statistics.median(later for _, later in values) for name, values in times.items()}
    print(f"  forward and backward {base:.1f} ms")
    for name, ours in after.items():
        print(f"  {name:<20} {ours:7.2f} ms with the optimizer   x {(base + ours) / (base + after['nothing']):.4f}")
    reached = (base + after["checked"]) / (base + after["nothing"])
    beyond = (base + after["clipped and checked"]) / (base + after["clipped by torch"])
    target = f"checked {reached:.4f}, beyond clipping {beyond:.4f} <= {TARGET}"
    return verdict({target: max(reached, beyond) <= TARGET}, given.check)


if __name__ == "__main__":
    sys.exit(main())
