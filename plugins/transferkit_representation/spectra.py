"""How many directions a representation uses: numerical, stable and entropy rank, participation ratio.

All of them are functions of the singular values s_1 ≥ s_2 ≥ … of the centred (n, d) features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TAU = 1e-3


def numerical_rank(features: Tensor, tau: float = TAU) -> int:
    """How many singular values of the centred features (n, d) exceed tau times the largest. Constant: 0.

    tau is a ratio of singular values; the eigenvalues of the covariance are their squares, so the same threshold
    there would be √tau here. At most min(n - 1, d). In float64. Raises ValueError for values that are not finite,
    no image, or a tau outside (0, 1).
    """
    return rank_above(singular_values(features), tau)


def stable_rank(features: Tensor) -> float:
    """Σ s² / s_1². NaN for constant features."""
    return stable(singular_values(features))


def participation_ratio(features: Tensor) -> float:
    """(Σ λ)² / Σ λ² of the eigenvalues λ = s² of the covariance. NaN for constant features."""
    return participation(singular_values(features))


def entropy_rank(features: Tensor) -> float:
    """exp of the entropy of s / Σ s (Roy and Vetterli 2007). NaN for constant features."""
    return by_entropy(singular_values(features))


def singular_values(features: Tensor) -> Tensor:
    """(n, …) -> (min(n, d),) float64, descending, of the centred features; all zero where they are constant."""
    features = torch.as_tensor(features)
    if features.dim() == 0 or not len(features):
        raise ValueError(f"features are (images, …), not {tuple(features.shape)}")
    if not bool(features.isfinite().all()):
        raise ValueError("features must be finite")
    rows = features.detach().reshape(len(features), -1)
    rounding = torch.finfo(rows.dtype).eps if rows.is_floating_point() else 0.0
    values: Tensor = torch.linalg.svdvals(apart(rows))
    return without_noise(values, rounding * float(rows.double().norm()))


def apart(rows: Tensor) -> Tensor:
    """Rows less their mean, float64. The first row goes before the mean: equal rows become exactly zero."""
    wide = rows.double()
    wide = wide - wide[0]
    return wide - wide.mean(dim=0)


def without_noise(values: Tensor, noise: float) -> Tensor:
    """All zero where the largest is no more than what rounding the features makes."""
    return values if len(values) and float(values[0]) > noise else torch.zeros_like(values)


def from_covariance(scatter: Tensor, noise: float) -> Tensor:
    """The singular values of centred features from their float64 scatter matrix XᵀX or X Xᵀ, exact to 1e-8 · s_1."""
    values = torch.linalg.eigvalsh(scatter).clamp(min=0).sqrt().flip(0)
    return without_noise(values, noise)


def rank_above(values: Tensor, tau: float) -> int:
    """How many of the descending values exceed tau times the first. Raises ValueError for a tau outside (0, 1)."""
    if not 0 < tau < 1:
        raise ValueError(f"tau is a ratio of singular values between 0 and 1, not {tau}")
    return int((values > tau * values[0]).sum()) if len(values) else 0


def stable(values: Tensor) -> float:
    """Σ s² / s_1²."""
    scaled = _scaled(values)
    return math.nan if scaled is None else float(scaled.square().sum())


def participation(values: Tensor) -> float:
    """(Σ s²)² / Σ s⁴."""
    scaled = _scaled(values)
    return math.nan if scaled is None else float(scaled.square().sum() ** 2 / scaled.pow(4).sum())


def by_entropy(values: Tensor) -> float:
    """exp(- Σ p ln p) with p = s / Σ s."""
    scaled = _scaled(values)
    return math.nan if scaled is None else float(torch.special.entr(scaled / scaled.sum()).sum().exp())


def _scaled(values: Tensor) -> Tensor | None:
    return values / values[0] if len(values) and float(values[0]) > 0 else None
