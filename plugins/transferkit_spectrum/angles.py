"""Corresponding angles between two weight matrices (paper 002, Definition 1 and Eq. 5-6), and what to beware of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Match = Literal["index", "optimal"]
NEAR_EQUAL = 1e-6  # of the largest singular value: weights of that precision do not tell such directions apart


def wide_type(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices that have none."""
    return torch.float32 if device.type == "mps" else torch.float64


def left_singular(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """(o, m) -> the left singular vectors (o, min(o, m)) and the singular values (min(o, m),), descending.

    No gradient. A wide matrix W has the left singular vectors of Rᵀ, where Wᵀ = QR: as exact as the SVD of W, up to
    eight times faster, because neither Q nor the long right vectors are formed.
    """
    with torch.no_grad(), torch.autocast(matrix.device.type, enabled=False):
        wide = matrix.detach().to(wide_type(matrix.device))
        if wide.shape[0] < wide.shape[1]:
            wide = torch.linalg.qr(wide.mT, mode="r").R.mT
        vectors, values, _ = torch.linalg.svd(wide, full_matrices=False)
    return vectors, values


def corresponding_angles(weight: Tensor, reference: Tensor) -> Tensor:
    """Absolute cosines between the i-th left singular vectors of two weights: (min(o, i),) float64 in 0..1, Eq. 5.

    A weight (o, i, h, w) is unfolded to (o, i·h·w), so that there are min(o, i·h·w) of them. Absolute, because the
    signs of singular vectors are arbitrary. Directions of near-equal singular values are arbitrary too: see
    `relative_gaps`. Raises ValueError for shapes that differ, fewer than two axes, and values that are not finite.
    """
    one, other = (left_singular(matrix)[0] for matrix in _pair(torch.as_tensor(weight), torch.as_tensor(reference)))
    return (one.mT @ other).abs().clamp(max=1.0).diagonal().clone()


def _pair(weight: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (o, i·h·w), without gradient and on one device. Raises ValueError where that cannot be."""
    shapes = tuple(weight.shape), tuple(reference.shape)
    if shapes[0] != shapes[1]:
        raise ValueError(f"corresponding angles need weights of one shape, not {shapes[0]} and {shapes[1]}")
    for one in (weight, reference):
        if one.ndim < 2 or not one.is_floating_point() or not one.numel():
            raise ValueError(f"a weight is a matrix or a stack of filters, not {shapes[0]} of {one.dtype}")
        if not one.isfinite().all():
            raise ValueError("the weight has values that are NaN or infinite, so it has no singular vectors")
    return weight.detach().flatten(1), reference.detach().flatten(1).to(weight.device)


def relative_gaps(values: Tensor, outputs: int) -> Tensor:
    """(n,) descending singular values of a matrix with `outputs` rows -> (n,) distance to the nearest other one.

    In units of the largest: a change of the weights by a share ε turns the i-th vector by up to about ε over its
    gap. With more rows than columns zero is a singular value as well. All zeros give NaN; a lone value inf.
    """
    ends = values.new_full((1,), torch.inf)
    below = -values.new_zeros(1) if outputs > len(values) else -ends
    steps = torch.cat([ends, values]) - torch.cat([values, below])
    return torch.minimum(steps[:-1], steps[1:]) / values[0]


@dataclass(frozen=True)
class Comparison:
    """Two weights of a layer. Arrays over the n = min(o, i·h·w) directions, by falling singular value."""

    cosines: NDArray[np.float64]
    """Of directions with equal index, or of the pairs that fit best; NaN where `masked`."""
    masked: NDArray[np.bool_]
    """Directions that are not determined, because their singular value is near-equal to another."""
    principal: NDArray[np.float64]
    """Cosines of the principal angles between the spans of the larger half, rising angles; empty if undetermined."""
    distance: float
    """‖W − W⁰‖ / ‖W⁰‖ in the Frobenius norm; NaN for W⁰ = 0."""
    norms: tuple[float, float]
    """‖W − W⁰‖ and ‖W⁰‖."""


def compare(weight: Tensor, reference: Tensor, match: Match = "index") -> Comparison:
    """Angles of one layer with what could make them meaningless. `optimal` pairs each direction of the reference
    with one of the weight so that the sum of the absolute cosines is largest; the order stays the reference's."""
    now, start = _pair(weight, reference)
    (u, s), (u0, s0) = left_singular(now), left_singular(start)
    gaps, gaps0 = relative_gaps(s, len(now)), relative_gaps(s0, len(now))
    unclear, unclear0 = (~(gap >= NEAR_EQUAL).cpu().numpy() for gap in (gaps, gaps0))  # NaN is unclear too
    table = (u0.mT @ u).abs().clamp(max=1.0)
    order = np.arange(len(s)) if match == "index" else linear_sum_assignment(table.cpu().numpy(), maximize=True)[1]
    masked = unclear0 | unclear[order]
    cosines = table.cpu().numpy()[np.arange(len(s)), order].astype(np.float64)
    start64 = start.to(s0.dtype)
    moved, length = float((now.to(s0.dtype) - start64).norm()), float(start64.norm())
    return Comparison(
        cosines=np.where(masked, np.nan, cosines),
        masked=masked,
        principal=_principal(u0, u, s0, s),
        distance=moved / length if length else float("nan"),
        norms=(moved, length),
    )


def _principal(u0: Tensor, u: Tensor, s0: Tensor, s: Tensor) -> NDArray[np.float64]:
    """Cosines between the spans of the first ceil(n/2) directions: the singular values of U0ᵀU."""
    half = -(-len(s) // 2)
    for values in (s0, s):
        edge = float(values[half - 1] - values[half]) if half < len(values) else float(values[half - 1])
        if not edge >= NEAR_EQUAL * float(values[0]) or not float(values[0]):
            return np.empty(0)
    found = torch.linalg.svdvals(u0[:, :half].mT @ u[:, :half]).clamp(max=1.0)
    return np.asarray(found.cpu().numpy(), dtype=np.float64)
