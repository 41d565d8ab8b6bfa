"""Corresponding angles between two weight matrices (paper 002, Definition 1 and Eq. 5-6), and what to beware of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit_spectrum.decomposition import left_singular

Match = Literal["index", "optimal"]
NEAR_EQUAL = 1e-6  # of the largest singular value: weights of that precision do not tell such directions apart


def corresponding_angles(weight: Tensor, reference: Tensor) -> Tensor:
    """Absolute cosines between the i-th left singular vectors of two weights: (min(o, i),) float64 in 0..1, Eq. 5.

    A weight (o, i, h, w) is unfolded to (o, i·h·w), so that there are min(o, i·h·w) of them. Absolute, because the
    signs of singular vectors are arbitrary. Directions of near-equal singular values are arbitrary too: see
    `relative_gaps`. Raises ValueError for shapes that differ, fewer than two axes, and values that are not finite.
    """
    pair = _pair(torch.as_tensor(weight), torch.as_tensor(reference))
    one, other = (left_singular(matrix)[0] for matrix in pair)
    return _cosines(one, other).diagonal().clone()


def unfolded(weight: Tensor) -> Tensor:
    """(o, i, h, w) -> (o, i·h·w) without gradient; a matrix stays one. ValueError where that cannot be."""
    if weight.ndim < 2 or not weight.is_floating_point() or not weight.numel():
        raise ValueError(f"a weight is a matrix or a stack of filters, not {tuple(weight.shape)} of {weight.dtype}")
    matrix = weight.detach().flatten(1)
    if not matrix.isfinite().all():
        raise ValueError("the weight has values that are NaN or infinite, so it has no singular vectors")
    return matrix


def _pair(weight: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    if weight.shape != reference.shape:
        raise ValueError(
            f"corresponding angles need weights of one shape, not {tuple(weight.shape)} and {tuple(reference.shape)}"
        )
    return unfolded(weight), unfolded(reference).to(weight.device)


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    return (one.mT @ other).abs().clamp(max=1.0)


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
    unclear, unclear0 = (~(gap >= NEAR_EQUAL) for gap in (gaps, gaps0))  # NaN is unclear too
    table = _cosines(u0, u)
    order = np.arange(len(s)) if match == "index" else _best_pairs(table)
    masked = (unclear0.cpu().numpy()) | unclear.cpu().numpy()[order]
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


def _best_pairs(table: Tensor) -> NDArray[np.int64]:
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(table.cpu().numpy(), maximize=True)
    found: NDArray[np.int64] = columns
    return found


def _principal(u0: Tensor, u: Tensor, s0: Tensor, s: Tensor) -> NDArray[np.float64]:
    """Cosines between the spans of the first ceil(n/2) directions: the singular values of U0ᵀU."""
    half = -(-len(s) // 2)
    for values in (s0, s):
        edge = float(values[half - 1] - values[half]) if half < len(values) else float(values[half - 1])
        if not edge >= NEAR_EQUAL * float(values[0]) or not float(values[0]):
            return np.empty(0)
    found = torch.linalg.svdvals(u0[:, :half].mT @ u[:, :half]).clamp(max=1.0)
    return np.asarray(found.cpu().numpy(), dtype=np.float64)
