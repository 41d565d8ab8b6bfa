"""Linear probes by ridge regression: weights in closed form, and accuracy on images that a probe has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

LAMBDAS = tuple(10.0**power for power in range(-4, 5))
FLOOR = 1e-2
"""Features that spread less than this share of the mean spread are not blown up further by standardising."""


def ridge_probe(x: Tensor, y: Tensor, lam: float) -> Tensor:
    """x (n, d), y (n, K) -> W (d, K), which minimises ‖(y - ȳ) - (x - x̄) W‖² + lam ‖W‖².

    The offset that belongs to it is ȳ - x̄ W. Worked out in float64, returned in x's dtype (float32 for half types
    and whole numbers). lam = 0 gives least squares, of all solutions the shortest. Raises ValueError for shapes that
    do not fit, a negative lam, and values that are not finite.
    """
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y) or not len(x):
        raise ValueError(f"ridge_probe: x is (n, d) and y (n, K), not {tuple(x.shape)} and {tuple(y.shape)}")
    if not lam >= 0:
        raise ValueError(f"ridge_probe: lam is at least 0, not {lam}")
    a, b = x.detach().double(), y.detach().to(x.device).double()
    if not bool(a.isfinite().all()) or not bool(b.isfinite().all()):
        raise ValueError("ridge_probe: x and y must be finite")
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    left, values, right = torch.linalg.svd(a, full_matrices=False)
    least = max(a.shape) * torch.finfo(torch.float64).eps * (float(values[0]) if len(values) else 0.0)
    known = values > least
    shrunk = torch.where(known, values / (values.square() + lam), 0.0)
    weights: Tensor = right.T @ (shrunk[:, None] * (left.T @ b))
    return weights.to(x.dtype if x.is_floating_point() and x.dtype.itemsize >= 4 else torch.float32)


@dataclass
class Moments:
    """Sums in float64 from which any ridge regression on the summed images follows.

    count (), x (d,), y (K,), xx (d, d), xy (d, K).
    """

    count: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor

    @classmethod
    def none(cls, width: int, classes: int) -> Moments:
        """Of no image."""
        shapes = ((), (width,), (classes,), (width, width), (width, classes))
        return cls(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    @classmethod
    def of(cls, x: Tensor, labels: Tensor, classes: int) -> Moments:
        """Rows (m, d) with their labels (m,)."""
        x, y = x.double(), one_hot(labels, classes).double()
        return cls(torch.tensor(float(len(x)), dtype=torch.float64), x.sum(0), y.sum(0), x.T @ x, x.T @ y)

    def plus(self, other: Moments, times: float = 1.0) -> Moments:
        """The sums of both, the other's multiplied."""
        return Moments(*(getattr(self, name) + times * value for name, value in vars(other).items()))

    def scatter(self) -> Tensor:
        """Σ (x - x̄)(x - x̄)ᵀ."""
        return self.xx - torch.outer(self.x, self.x) / self.count


class FoldedRidge:
    """Ridge probes that leave one fold out, from sums of one pass: no features are kept.

    Features are standardised by the images that a probe learns from; y is one column per class, 1 for the label.
    """

    def __init__(self, width: int, classes: int, folds: int) -> None:
        self.classes = classes
        self.folds = [Moments.none(width, classes) for _ in range(folds)]

    def update(self, x: Tensor, labels: Tensor, folds: Tensor, weight: float = 1.0) -> None:
        """Rows (m, d), their labels and folds (m,); `weight` is each row's share of an image."""
        for fold in sorted(set(folds.tolist())):
            chosen = folds == fold
            part = Moments.of(x[chosen], labels[chosen], self.classes)
            self.folds[fold] = self.folds[fold].plus(part, weight)

    def total(self) -> Moments:
        """Of all folds."""
        result = self.folds[0]
        for fold in self.folds[1:]:
            result = result.plus(fold)
        return result

    def probes(self, without: int, lams: Sequence[float] = LAMBDAS) -> list[tuple[Tensor, Tensor]]:
        """(weights (d, K), offset (K,)) for raw features by lambda, learned from all folds but one."""
        moments = self.total().plus(self.folds[without], -1.0)
        mean, mean_y = moments.x / moments.count, moments.y / moments.count
        scatter = moments.scatter()
        scale = spread_of(scatter.diagonal() / moments.count)
        correlated = scatter / torch.outer(scale, scale)
        right = (moments.xy - torch.outer(mean, moments.y)) / scale[:, None]
        found = []
        for lam in lams:
            factor = torch.linalg.cholesky(correlated + lam * torch.eye(len(scale), dtype=torch.float64))
            weights = torch.cholesky_solve(right, factor) / scale[:, None]
            found.append((weights, mean_y - mean @ weights))
        return found


def spread_of(variance: Tensor) -> Tensor:
    """Standard deviations (d,) to divide by: never less than FLOOR times their root mean square, nor 0."""
    variance = variance.clamp(min=0)
    least = FLOOR * float(variance.mean().sqrt())
    return variance.sqrt().clamp(min=least if least > 0 else 1.0)


def stratified_folds(labels: Tensor, folds: int) -> Tensor:
    """(n,) -> (n,) fold of each image: every class spread as evenly as it goes, in the images' order."""
    order = labels.argsort(stable=True)
    result = torch.empty_like(labels)
    result[order] = torch.arange(len(labels)) % folds
    return result


@dataclass(frozen=True)
class Probe:
    """How a layer's probe did on images that it did not learn from."""

    correct: Tensor
    """(n,) bool"""
    lam: float
    """The strength that did best over all folds."""


def held_out(
    rows: Tensor,
    labels: Tensor,
    folds: Tensor,
    classes: int,
    sums: FoldedRidge | None = None,
    lams: Sequence[float] = LAMBDAS,
) -> Probe:
    """Answers on rows (n, d) by probes that have not seen their fold, each with the lambda the other folds chose.

    `sums` are those of all rows where they are known. Of equal lambdas the largest is taken.
    """
    count = int(folds.max()) + 1
    if sums is None and rows.shape[1] <= len(rows):
        sums = FoldedRidge(rows.shape[1], classes, count)
        sums.update(rows, labels, folds)
    right = torch.zeros(len(lams), len(rows), dtype=torch.bool)
    for fold in range(count):
        out = folds == fold
        if sums is None:
            scores = _by_kernel(rows, labels, out, classes, lams)
        else:
            scores = [rows[out].double() @ weights + offset for weights, offset in sums.probes(fold, lams)]
        for i, score in enumerate(scores):
            right[i, out] = score.argmax(dim=1) == labels[out]
    hits = torch.stack([right[:, folds == fold].sum(dim=1) for fold in range(count)])  # (folds, lambdas)
    correct = torch.zeros(len(rows), dtype=torch.bool)
    for fold in range(count):
        out = folds == fold
        correct[out] = right[_last_best(hits.sum(dim=0) - hits[fold]), out]
    return Probe(correct, lams[_last_best(hits.sum(dim=0))])


def _last_best(hits: Tensor) -> int:
    return int((hits == hits.max()).nonzero()[-1])


def _by_kernel(rows: Tensor, labels: Tensor, out: Tensor, classes: int, lams: Sequence[float]) -> list[Tensor]:
    """The same probes where there are more features than images: the dual problem, of the images' size."""
    known, y = rows[~out].double(), one_hot(labels[~out], classes).double()
    mean = known.mean(dim=0)
    known = known - mean
    scale = spread_of(known.square().mean(dim=0))
    known, asked = known / scale, (rows[out].double() - mean) / scale
    kernel, across, centre = known @ known.T, asked @ known.T, y.mean(dim=0)
    found = []
    for lam in lams:
        factor = torch.linalg.cholesky(kernel + lam * torch.eye(len(known), dtype=torch.float64))
        found.append(across @ torch.cholesky_solve(y - centre, factor) + centre)
    return found
