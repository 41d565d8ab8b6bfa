"""What the observer `distance` costs per training step: a step with it against the same step without.

CIFAR ResNet-20 at 32 px with batches of 16 and ResNet-18 at 96 px with batches of 32, SGD with momentum, one thread.
The two take turns; ratios are medians over rounds. Run: python benchmarks/distance.py [rounds] [--check]
"""

from __future__ import annotations

import argparse
import sys
from types import SimpleNamespace

import timm
import torch
import torch.nn.functional as F
from interleaved import measure, ratio, table
from transferkit_distance.observer import Distance

import transferkit.model  # noqa: F401 - registers the CIFAR networks with timm

TARGET = 1.03
SETTINGS = {"ResNet-20": ("transferkit_resnet20", 32, 16), "ResNet-18": ("resnet18", 96, 32)}


class Step:
    """A plain step of a network, and the observer's part of it if wanted; always the same weights and images."""

    def __init__(self, name: str, size: int, batch: int, *, watched: bool) -> None:
        torch.manual_seed(0)
        self.net = timm.create_model(name, num_classes=10).train()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-3, momentum=0.9)
        self.images, self.labels = torch.randn(batch, 3, size, size), torch.arange(batch) % 10
        self.session = SimpleNamespace(
            model=SimpleNamespace(named_backbone_parameters=self._backbone),
            stage=SimpleNamespace(unfreeze=None),
            state=SimpleNamespace(step=0, epoch=0),
            warn=print,
        )
        self.observer = Distance() if watched else None
        if self.observer is not None:
            self.observer.setup(self.session)

    def _backbone(self):
        head = {id(parameter) for parameter in self.net.get_classifier().parameters()}
        return ((name, p) for name, p in self.net.named_parameters() if id(p) not in head)

    def __call__(self) -> None:
        loss = F.cross_entropy(self.net(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.session.state.step += 1
        if self.observer is not None:
            self.observer.step_end(self.session, self.session.state.step)


def check_same_weights(plain: Step, watched: Step) -> None:
    """The observer must see what happens and change nothing."""
    starts = [p.detach().double().clone() for _, p in watched._backbone()]
    expected = 0.0
    for _ in range(3):
        before = [p.detach().double().clone() for _, p in watched._backbone()]
        plain()
        watched()
        after = [p.detach().double() for _, p in watched._backbone()]
        expected += float(sum((b - a).square().sum() for b, a in zip(before, after, strict=True)).sqrt())
    found = watched.observer.epoch_end(watched.session)
    displacement = float(sum((b - a).square().sum() for b, a in zip(starts, after, strict=True)).sqrt())
    assert all(torch.equal(p, q) for p, q in zip(plain.net.parameters(), watched.net.parameters(), strict=True))
    error = max(abs(found["distance"] / expected - 1), abs(found["displacement"] / displacement - 1))
    print(f"relative error against float64 copies of all weights: {error:.1e}")
    assert error < 1e-5


def main(rounds: int, check: bool) -> None:
    torch.set_num_threads(1)
    missed = []
    for title, setting in SETTINGS.items():
        plain, watched = Step(*setting, watched=False), Step(*setting, watched=True)
        print(f"{title}, {setting[1]} px, batch {setting[2]}")
        check_same_weights(plain, watched)

        def alone(watched: Step = watched) -> None:
            watched.observer.step_end(watched.session, watched.session.state.step)

        variants = {"plain step": plain, "with the observer distance": watched, "the observer's part alone": alone}
        times = measure(variants, rounds)
        table(times, "plain step")
        found = ratio(times, "with the observer distance", "plain step")
        print(f"observer against none: {found:.3f} (target <= {TARGET})")
        if found > TARGET:
            missed.append(title)
    if check and missed:
        sys.exit(f"missed the target: {', '.join(missed)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=40)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    main(given.rounds, given.check)
