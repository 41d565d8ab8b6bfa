"""Least-squares concept erasure in closed form (Belrose et al., NeurIPS 2023), in float64, from sums of one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RANK = 1e-10
"""Directions that vary less than this share of the largest are rounding."""


@dataclass
class Moments:
    """Sums over images, from which the eraser follows: n, Σx (d,), Σz (k,), Σxxᵀ (d, d), Σxzᵀ (d, k)."""

    n: float
    x: Tensor
    z: Tensor
    xx: Tensor
    xz: Tensor

    @classmethod
    def of(cls, x: Tensor, z: Tensor) -> Moments:
        """Features (n, d) and concepts (n, k). Raises ValueError for shapes that do not fit and for NaN."""
        if x.dim() != 2 or z.dim() != 2 or len(x) != len(z) or not len(x):
            raise ValueError(f"leace: features (n, d) and concepts (n, k), not {tuple(x.shape)} and {tuple(z.shape)}")
        if not bool(x.isfinite().all()):
            raise ValueError("leace: the features are not finite")
        x, z = x.detach().double(), z.double()
        return cls(float(len(x)), x.sum(0), z.sum(0), x.T @ x, x.T @ z)

    def plus(self, other: Moments) -> Moments:
        """The sums over the images of both."""
        return Moments(*(getattr(self, name) + getattr(other, name) for name in vars(self)))


@dataclass
class Eraser:
    """x' = P x + (μ − P μ) with P = I − `out` @ `inn`: (d, k), (k, d) and μ (d,), all float64."""

    out: Tensor
    inn: Tensor
    mean: Tensor

    @property
    def projection(self) -> Tensor:
        """P (d, d), of rank d − k."""
        return torch.eye(len(self.mean), dtype=self.out.dtype) - self.out @ self.inn

    def __call__(self, x: Tensor) -> Tensor:
        """Features (n, d) without the concepts, in their own dtype."""
        return (x.double() - (x.double() - self.mean) @ self.inn.T @ self.out.T).to(x.dtype)

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """The head (K, d), (K,) whose logits on x are those that the given one has on x': W P, b + W (μ − P μ)."""
        through = weight.double() @ self.out
        moved = through @ (self.inn @ self.mean)
        start = torch.zeros(len(weight)) if bias is None else bias
        return (weight - through @ self.inn).to(weight.dtype), (start + moved).to(weight.dtype)


def eraser(moments: Moments, ridge: float | None = 0.0) -> Eraser:
    """x' = x − W⁺ P_{W Σxz} W (x − μ) with W = (Σxx + ridge·tr(Σxx)/d)^(-1/2): cov(x', z) = 0 for any ridge.

    None is d/n, features per image.

    Without a ridge W is the pseudo-inverse, and of all affine maps that erase this one changes x least, in the
    metric that whitens it (and, by the paper's theorem 4.3, in every one).
    """
    n = moments.n
    mean = moments.x / n
    covariance = moments.xx / n - torch.outer(mean, mean)
    cross = moments.xz / n - torch.outer(mean, moments.z / n)
    values, axes = torch.linalg.eigh(covariance)
    ridge = len(mean) / n if ridge is None else ridge
    floor = ridge * float(values.clamp(min=0).mean())
    inverse = torch.where(
        values > RANK * float(values.max()), 1 / (values.clamp(min=0) + floor), 1 / floor if floor else 0.0
    )
    whitened = axes @ (inverse[:, None] * (axes.T @ cross))  # W² Σxz
    return Eraser(cross @ torch.linalg.pinv(cross.T @ whitened, hermitian=True), whitened.T, mean)


def leace(x: Tensor, z: Tensor, ridge: float | None = 0.0) -> Eraser:
    """What erases the concepts z (n, k), such as one column of 0 and 1 per class, from features x (n, d)."""
    return eraser(Moments.of(x, z), ridge)
