"""Maps from fine-tuned to source features, found without labels: the refitted head's, and one with a kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from transferkit.errors import InputError
from transferkit.model import SourceHead

GRID = tuple(10.0 ** (step / 2) for step in range(-6, 3))
"""λ per image on standardised inputs: 0.001 to 10."""
KERNEL_GRID = (0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class LinearMap:
    """y ≈ weight·x + bias, and how it was found."""

    weight: Tensor
    """(d_out, d_in) float64."""
    bias: Tensor
    """(d_out,) float64."""
    lam: float
    """λ, on standardised inputs."""
    explained: float
    """1 − (leave-one-out error) / (spread of y): 1 is perfect, 0 no better than the mean."""
    images: int


def ridge_map(inputs: Tensor, outputs: Tensor, lam: float | None = None) -> LinearMap:
    """Ridge regression of outputs (n, d_out) on inputs (n, d_in), with an intercept. float64 throughout.

    minimises Σ_i ‖y_i − A z_i − a‖² + λ‖A‖², z the inputs standardised to mean 0 and variance 1 (constant ones are
    left out). Without `lam` the λ of `GRID`·n with the smallest leave-one-out error is taken, by the closed form
    residual / (1 − leverage). Raises InputError for fewer than two images and for numbers that are not finite.
    """
    x, y = inputs.double(), outputs.double()
    if len(x) < 2 or len(x) != len(y):
        raise InputError(f"a refitted head needs at least two images seen by both models, and has {len(x)}")
    if not bool(x.isfinite().all()) or not bool(y.isfinite().all()):
        raise InputError("the features of a model are not finite numbers; its weights or the images are broken")
    n, y_mean = len(x), y.mean(dim=0)
    x_mean, scale = _standardising(x)
    target = y - y_mean
    z, axes, energy = _principal((x - x_mean) * scale)
    cross = z.T @ target
    total = float(target.square().sum())

    def left_out(value: float) -> float:
        shrunk = 1 / (energy + value)
        leverage = 1 / n + z.square() @ shrunk
        residual = target - z @ (cross * shrunk[:, None])
        return float((residual / (1 - leverage).clamp_min(1e-12)[:, None]).square().sum())

    tried = {value: left_out(value) for value in ([lam] if lam is not None else [n * step for step in GRID])}
    best = min(tried, key=lambda value: tried[value])
    weight = (axes @ (cross / (energy + best)[:, None])).T * scale
    return LinearMap(weight, y_mean - weight @ x_mean, best, 1 - tried[best] / total if total > 0 else 1.0, n)


def _standardising(x: Tensor) -> tuple[Tensor, Tensor]:
    """The means (d,), and what to multiply by (d,) for a variance of 1; 0 for constant inputs."""
    mean = x.mean(dim=0)
    spread = (x - mean).square().mean(dim=0).sqrt()
    return mean, torch.where(spread > 1e-12 * spread.max(), 1 / spread, torch.zeros_like(spread))


def _principal(centred: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, d) -> z (n, r), V (d, r) and eigenvalues (r,) with centred = z Vᵀ, by the smaller Gram matrix."""
    n, d = centred.shape
    values, vectors = torch.linalg.eigh(centred.T @ centred if d <= n else centred @ centred.T)
    kept = values > values[-1].clamp_min(0) * 1e-12
    values, vectors = values[kept], vectors[:, kept]
    if d <= n:
        return centred @ vectors, vectors, values
    return vectors * values.sqrt(), centred.T @ vectors / values.sqrt(), values


def refitted_head(inputs: Tensor, outputs: Tensor, head: SourceHead, lam: float | None = None) -> SourceHead:
    """H(M^s) behind a map from the target's features (n, d_t) to the source's (n, d_s) of the same images.

    W' = W_s A and b' = W_s a + b_s with A, a from `ridge_map`: still one linear layer, on the target's features.
    """
    return fold(ridge_map(inputs, outputs, lam), head)


def fold(found: LinearMap, head: SourceHead) -> SourceHead:
    """The head that reads the map's inputs instead of its outputs; in the head's dtype."""
    weight = head.weight.double()
    bias = weight @ found.bias + (0 if head.bias is None else head.bias.double())
    return SourceHead((weight @ found.weight).to(head.weight), bias.to(head.weight), list(head.classes))


def kernel_map(inputs: Tensor, outputs: Tensor) -> tuple[Callable[[Tensor], Tensor], float]:
    """Kernel ridge regression of outputs (n, d_out) on inputs (n, d), with a Gaussian kernel; the map, and its λ.

    y(x) = ȳ + Σ_i α_i exp(−‖z(x) − z_i‖² / m), z the standardised inputs and m the median squared distance between
    those fitted on; (m, d) -> (m, d_out) float64. λ by leave-one-out: (K + λI)⁻¹y at i over its diagonal at i.
    """
    x, y = inputs.double(), outputs.double()
    centre, scale = _standardising(x)
    support, mean = (x - centre) * scale, y.mean(dim=0)
    width = max(float(torch.cdist(support, support).square().median()), 1e-12)

    def kernel(z: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(z, support).square() / width)

    values, vectors = torch.linalg.eigh(kernel(support))
    rotated = vectors.T @ (y - mean)

    def weights(lam: float) -> Tensor:
        found: Tensor = vectors @ (rotated / (values.clamp_min(0) + lam)[:, None])
        return found

    def left_out(lam: float) -> float:
        diagonal = vectors.square() @ (1 / (values.clamp_min(0) + lam))
        return float((weights(lam) / diagonal[:, None]).square().sum())

    best = min(KERNEL_GRID, key=left_out)
    fitted = weights(best)
    return lambda new: mean + kernel((new.double() - centre) * scale) @ fitted, best
