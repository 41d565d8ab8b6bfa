"""How many directions a representation uses: numerical, stable and entropy rank, participation ratio.

All of them are functions of the singular values s_1 ≥ s_2 ≥ … of the centred (n, d) features.
"""

from __future__ import annotations

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
    return without_noise(torch.linalg.eigvalsh(scatter).clamp(min=0).sqrt().flip(0), noise)


def rank_above(values: Tensor, tau: float) -> int:
    """How many of the descending values exceed tau times the first. Raises ValueError for a tau outside (0, 1)."""
    if not 0 < tau < 1:
        raise ValueError(f"tau is a ratio of singular values between 0 and 1, not {tau}")
    return int((values > tau * values[0]).sum()) if len(values) else 0


def stable(values: Tensor) -> float:
    """Σ s² / s_1²."""
    return float(_scaled(values).square().sum())


def participation(values: Tensor) -> float:
    """(Σ s²)² / Σ s⁴."""
    scaled = _scaled(values)
    return float(scaled.square().sum() ** 2 / scaled.pow(4).sum())


def participation_without(rows: Tensor, parts: Tensor) -> Tensor:
    """(parts,): the participation ratio of features (n, d) without each of the parts 0, 1, … (n,). NaN: constant ones.

    (tr C)² / ‖C‖² of their scatter C, so no values are sought; of the smaller of XᵀX and X Xᵀ.
    """
    wide = apart(rows)
    found = []
    if small := len(wide) < wide.shape[1]:
        gram = wide @ wide.T
    else:
        gram, total = wide.T @ wide, wide.sum(dim=0)
    for part in range(int(parts.max()) + 1):
        out = parts == part
        if small:
            kept = gram[~out][:, ~out]
            kept = kept - kept.mean(dim=0) - kept.mean(dim=1)[:, None] + kept.mean()
        else:
            rest = total - wide[out].sum(dim=0)
            kept = gram - wide[out].T @ wide[out] - torch.outer(rest, rest) / (~out).sum()
        found.append(kept.trace() ** 2 / kept.square().sum())
    return torch.stack(found)


def by_entropy(values: Tensor) -> float:
    """exp(- Σ p ln p) with p = s / Σ s."""
    scaled = _scaled(values)
    return float(torch.special.entr(scaled / scaled.sum()).sum().exp())


def _scaled(values: Tensor) -> Tensor:
    """Over the first; NaN where it is no more than 0, or NaN."""
    return values / values[0] if len(values) and float(values[0]) > 0 else torch.tensor([torch.nan])
