"""Class means made equal, feature by feature, after the last non-linearity: Newton's method on a few numbers each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS, EPS = 12, 0.02
ENOUGH = 1e-6


def gaps(features: Tensor, concepts: Tensor) -> Tensor:
    """(d, k) float64: the mean of each feature (n, d) over images of a class (n, k), minus that over the rest."""
    rest = ~concepts.any(dim=1)
    wide = features.double()
    return torch.stack([wide[one].mean(0) - wide[rest].mean(0) for one in concepts.bool().T], dim=1)


def matched(features: Callable[[Tensor], Tensor], concepts: Tensor, width: int) -> Tensor:
    """T (d, k) for which `features(T)` (n, d) have the same mean in every class of `concepts` (n, k) and in the rest.

    Feature o must depend on row o of T alone, and rise with it. With equal class means no linear probe is better than
    a constant (Belrose et al., theorem 3.1). Rows whose gap does not shrink any more stay where it was smallest.
    """
    k = concepts.shape[1]
    found = torch.zeros(width, k, dtype=torch.float64)
    gap = gaps(features(found), concepts)
    limit = 4 * float(gap.abs().max())
    if limit == 0:
        return found
    share = torch.ones(width, dtype=torch.float64)
    for _ in range(STEPS):
        if float(gap.abs().max()) < ENOUGH * limit:
            break
        eps = EPS * limit
        slopes = [(gaps(features(found + eps * one), concepts) - gap) / eps for one in torch.eye(k).double()]
        slope = torch.stack(slopes, dim=2)  # (d, k, k): of gap i by column j
        step = -torch.einsum("oij,oj->oi", torch.linalg.pinv(slope, rtol=1e-3), gap).clamp(-limit, limit)
        tried = found + share[:, None] * step
        new = gaps(features(tried), concepts)
        better = new.abs().sum(1) <= gap.abs().sum(1)
        found[better], gap[better] = tried[better], new[better]
        share = torch.where(better, (2 * share).clamp(max=1), share / 4)
    return found


def same_answers(weight: Tensor, bias: Tensor, old: Tensor, new: Tensor, ridge: float = 0.1) -> tuple[Tensor, Tensor]:
    """The head nearest to (K, d), (K,) that gives on features `new` (n, d) what that one gives on `old`: a ridge.

    Minimises Σ_i ‖W' x'_i + b' − W x_i − b‖² / n + ridge·s·‖W' − W‖², with s the mean variance of a feature.
    """
    x, wide = new.double(), weight.double()
    wanted = old.double() @ wide.T - x @ wide.T  # what W, on the new features, is short of
    centre, middle = x.mean(0), wanted.mean(0)
    c = x - centre
    covariance = c.T @ c / len(x)
    strength = ridge * float(covariance.diagonal().mean())
    eye = torch.eye(x.shape[1], dtype=torch.float64)
    change = torch.linalg.solve(covariance + strength * eye, c.T @ (wanted - middle) / len(x)).T
    return (wide + change).to(weight.dtype), (bias.double() + middle - change @ centre).to(bias.dtype)
