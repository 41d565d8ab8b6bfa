"""A small non-linear map from one model's features to another's: kernel ridge regression with a Gaussian kernel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GRID = (0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class KernelMap:
    """y(x) = ȳ + Σ_i α_i exp(−‖z(x) − z_i‖² / m), m the median squared distance between the fitting images."""

    centre: Tensor
    scale: Tensor
    support: Tensor
    """(n, d) standardised inputs."""
    weights: Tensor
    """(n, d_out)."""
    mean: Tensor
    width: float
    lam: float

    def __call__(self, inputs: Tensor) -> Tensor:
        """(m, d) -> (m, d_out) float64."""
        z = (inputs.double() - self.centre) * self.scale
        return self.mean + _gaussian(z, self.support, self.width) @ self.weights


def kernel_map(inputs: Tensor, outputs: Tensor) -> KernelMap:
    """Fit on inputs (n, d) and outputs (n, d_out), λ by leave-one-out: (K + λI)⁻¹y at i over its diagonal at i."""
    x, y = inputs.double(), outputs.double()
    centre, spread = x.mean(dim=0), x.std(dim=0, correction=0)
    scale = torch.where(spread > 1e-12 * spread.max(), 1 / spread, torch.zeros_like(spread))
    support = (x - centre) * scale
    width = float(torch.cdist(support, support).square().median())
    mean = y.mean(dim=0)
    values, vectors = torch.linalg.eigh(_gaussian(support, support, width))
    rotated = vectors.T @ (y - mean)

    def weights(lam: float) -> Tensor:
        found: Tensor = vectors @ (rotated / (values.clamp_min(0) + lam)[:, None])
        return found

    def left_out(lam: float) -> float:
        diagonal = vectors.square() @ (1 / (values.clamp_min(0) + lam))
        return float((weights(lam) / diagonal[:, None]).square().sum())

    best = min(GRID, key=left_out)
    return KernelMap(centre, scale, support, weights(best), mean, width, best)


def _gaussian(one: Tensor, other: Tensor, width: float) -> Tensor:
    distances: Tensor = torch.cdist(one, other)
    return torch.exp(-distances.square() / max(width, 1e-12))
