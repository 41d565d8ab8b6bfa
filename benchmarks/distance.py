"""What the observer `distance` costs per training step: a step with it against the same step without.

CIFAR ResNet-20 at 32 px with batches of 16 and ResNet-18 at 96 px with batches of 32, SGD with momentum, one thread.
The two take turns; ratios are medians over rounds. Run: python benchmarks/distance.py [rounds] [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import torch
from interleaved import measure, options, ratio, table, verdict
from step import Step
from transferkit_distance.observer import Distance

TARGET = 1.03
SETTINGS = {"transferkit_resnet20": (32, 16), "resnet18": (96, 32)}


class Watched(Step):
    """A step, and the observer's part of it."""

    def __init__(self, name, **options):
        super().__init__(name, **options)
        stage, state = SimpleNamespace(unfreeze=None), SimpleNamespace(step=0, epoch=0)
        self.session = cast(Any, SimpleNamespace(model=self.model, stage=stage, state=state, warn=print))
        self.observer = Distance()
        self.observer.setup(self.session)

    def alone(self):
        self.observer.step_end(self.session, self.session.state.step)

    def __call__(self, penalty=None, after_backward=None):
        super().__call__(penalty, after_backward)
        self.session.state.step += 1
        self.alone()


def copies(step):
    return [parameter.detach().double().clone() for _, parameter in step.model.named_backbone_parameters()]


def apart(ones, others):
    return float(sum((a - b).square().sum() for a, b in zip(ones, others, strict=True)).sqrt())


def check_same_weights(plain, watched):
    """The observer must see what happens and change nothing."""
    weights = [copies(watched)]
    for _ in range(3):
        plain()
        watched()
        weights.append(copies(watched))
    found = watched.observer.epoch_end(watched.session)
    expected = sum(apart(a, b) for a, b in zip(weights[1:], weights, strict=False))
    pairs = zip(plain.model.parameters(), watched.model.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    error = max(abs(found["distance"] / expected - 1), abs(found["displacement"] / apart(weights[-1], weights[0]) - 1))
    print(f"relative error against float64 copies of all weights: {error:.1e}")
    assert error < 1e-5


def main():
    given = options(__doc__, 40).parse_args()
    targets: dict[str, bool] = {}
    for name, (size, batch) in SETTINGS.items():
        plain, watched = Step(name, size=size, batch=batch), Watched(name, size=size, batch=batch)
        print(f"{name}, {size} px, batch {batch}")
        check_same_weights(plain, watched)
        variants: dict[str, Callable[[], object]] = {
            "plain step": plain,
            "with the observer": watched,
            "the observer's part alone": watched.alone,
        }
        times = measure(variants, given.rounds)
        table(times, "plain step")
        found = ratio(times, "with the observer", "plain step")
        targets[f"{name}: observer against none {found:.3f} <= {TARGET}"] = found <= TARGET
    return verdict(targets, given.check)


if __name__ == "__main__":
    sys.exit(main())
