"""BSS: the error of its gradient against a float64 SVD, and its time against two SVD routes and in a step.

Run: python benchmarks/bss.py [rounds]
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from interleaved import measure, options, table
from step import Step
from transferkit_bss import bss


def features_of(condition, rows=48, columns=2048, seed=0):
    """A float32 matrix with singular values spaced geometrically from `condition` to 1."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, rows)))[0]
    values = np.geomspace(condition, 1.0, rows) if condition > 1 else np.linspace(2.0, 1.0, rows)
    return torch.tensor((left * values) @ right.T, dtype=torch.float32)


def by_svd(features, k=1):
    """The published way: SVD of the transposed matrix, vectors and all, then a loop from the end."""
    _, values, _ = torch.svd(features.t())
    return sum(values[-1 - i] ** 2 for i in range(k))


def by_svdvals(features, k=1):
    """Torch's singular values, through autograd."""
    return torch.linalg.svdvals(features)[-k:].square().sum()


def gradient(function, features):
    leaf = features.clone().requires_grad_()
    function(leaf).backward()
    return leaf.grad


def exact_gradient(features):
    left, values, right = np.linalg.svd(features.double().numpy(), full_matrices=False)
    return torch.tensor(2 * values[-1] * np.outer(left[:, -1], right[-1]))


def errors():
    print("relative error of the gradient, 48 x 2048, k = 1, against a float64 SVD of the same matrix")
    print(f"  {'condition':<12}{'ours':>12}{'svd(F^T)':>12}{'svdvals(F)':>12}")
    for power in range(7):
        features = features_of(10.0**power)
        exact = exact_gradient(features)
        row = [float((gradient(f, features).double() - exact).norm() / exact.norm()) for f in (bss, by_svd, by_svdvals)]
        print(f"  1e{power:<10}" + "".join(f"{error:>12.1e}" for error in row))
        assert row[0] <= (1e-6 if power <= 4 else 1e-4)


def times_alone(rounds):
    for shape in ((48, 512), (48, 2048), (128, 2048)):
        features = torch.rand(shape)
        print(f"forward and backward, {shape[0]} x {shape[1]}")
        routes = {"ours": bss, "svd(F^T), as published": by_svd, "svdvals(F)": by_svdvals}
        times = measure({name: partial(gradient, f, features) for name, f in routes.items()}, rounds)
        table(times, "ours")


def times_in_a_step(rounds):
    print("a training step of ResNet-18, 96 px, batch 16")
    times = measure({"no penalty": Step(), "BSS (ours)": Step(bss=0.001)}, rounds)
    table(times, "no penalty")


if __name__ == "__main__":
    rounds = options(__doc__, 30).parse_args().rounds
    errors()
    times_alone(3 * rounds)
    times_in_a_step(rounds)
