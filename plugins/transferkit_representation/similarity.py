"""Linear CKA: of two representations at once, and of all pairs of layers over minibatches.

Kornblith et al. 2019 (CKA); Song et al. 2012 (the unbiased HSIC); Nguyen, Raghu and Kornblith 2021 (over minibatches).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from transferkit_representation.grams import (
    LEAST,
    Estimator,
    centred_gram,
    check_estimator,
    cka_ratio,
    hsic_scale,
    rows_of,
)


def cka(x: Tensor, y: Tensor, estimator: Estimator = "unbiased") -> float:
    """Linear CKA of two representations (n, …) of the same n images: HSIC(x, y) / √(HSIC(x, x) HSIC(y, y)).

    `biased` is the paper's: ‖yᵀx‖² / (‖xᵀx‖ ‖yᵀy‖) on centred columns, in 0..1, near 1 for few images of many
    dimensions whatever they hold. `unbiased` is 0 on average for unrelated ones and may be negative. In float64.
    NaN when either is constant over the images or not finite.

    Raises ValueError for different numbers of images and for fewer than 4 (biased: 1).
    """
    check_estimator(estimator)
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y):
        raise ValueError(f"cka: both need one row per image, not the shapes {tuple(x.shape)} and {tuple(y.shape)}")
    if len(x) < LEAST[estimator]:
        raise ValueError(f"cka: the {estimator} estimator needs at least {LEAST[estimator]} images, not {len(x)}")
    a, b = rows_of(x).double(), rows_of(y).double()
    b = b.to(a.device)
    if len(a) ** 2 <= a.shape[1] * b.shape[1]:
        left, right = centred_gram(a, estimator), centred_gram(b, estimator)
        own = left.norm(), right.norm()
        return _over(float((left * right).sum()), float(own[0]) * float(own[1]))
    return _from_columns(a, b, estimator)


def _over(value: float, scale: float) -> float:
    return value / scale if scale > 0 and math.isfinite(value) else math.nan


def _from_columns(x: Tensor, y: Tensor, estimator: Estimator) -> float:
    """The same for many images of few dimensions, where xᵀy is smaller than the Gram matrices."""
    x, y = (_apart(part) for part in (x, y))
    cross, own_x, own_y = (_hsic_of_columns(a, b, estimator) for a, b in ((x, y), (x, x), (y, y)))
    return _over(cross, math.sqrt(max(own_x, 0.0)) * math.sqrt(max(own_y, 0.0)))


def _apart(x: Tensor) -> Tensor:
    """Rows less their mean; zero where that is no more than rounding. The first row goes before the mean, exactly."""
    shifted = x - x[0]
    apart = shifted - shifted.mean(dim=0)
    return apart if not float(apart.norm()) <= 4 * torch.finfo(x.dtype).eps * float(x.norm()) else 0 * apart


def _hsic_of_columns(x: Tensor, y: Tensor, estimator: Estimator) -> float:
    """HSIC but for its scale, of centred columns. Unbiased: Song et al., Eq. 5, where row sums of K̃ are -diag K."""
    n = len(x)
    cross = float((x.T @ y).square().sum())
    if estimator == "biased":
        return cross
    k, m = x.square().sum(dim=1), y.square().sum(dim=1)
    both = float(k @ m)
    return cross - both + float(k.sum()) * float(m.sum()) / ((n - 1) * (n - 2)) - 2 * both / (n - 2)


class MinibatchCKA:
    """Linear CKA of every layer of one list with every layer of another, from batches of the same images.

    The three HSIC terms are averaged over batches before the ratio is taken. Each layer's Gram matrix is made and
    centred once per batch, in the layer's own precision; all pairs then are one product of (layers, n²) matrices.
    """

    def __init__(self, estimator: Estimator = "unbiased") -> None:
        check_estimator(estimator)
        self.estimator: Estimator = estimator
        self.batches = 0
        self._cross: Tensor | None = None
        self._own_x: Tensor | None = None
        self._own_y: Tensor | None = None

    @torch.no_grad()
    def update(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> None:
        """One batch: the outputs (n, …) of each layer of both sides, image i the same in all.

        Raises ValueError for other numbers of images or layers than before or between them, and for fewer than
        4 images (biased: 2): leave a short last batch out.
        """
        same = ys is xs
        xs, ys = [torch.as_tensor(x) for x in xs], [torch.as_tensor(y) for y in ys]
        n = self._check(xs, ys)
        a = self._flat(xs)
        b = a if same else self._flat(ys).to(a.device)
        scale = hsic_scale(n, self.estimator)
        cross, own_x, own_y = scale * (a @ b.T), scale * a.square().sum(dim=1), scale * b.square().sum(dim=1)
        if self._cross is None or self._own_x is None or self._own_y is None:
            self._cross, self._own_x, self._own_y = cross, own_x, own_y
        else:
            self._cross, self._own_x, self._own_y = self._cross + cross, self._own_x + own_x, self._own_y + own_y
        self.batches += 1

    def compute(self) -> Tensor:
        """(layers, layers) float64 on the CPU, not clipped. NaN where `reasons` says why. ValueError before a batch."""
        return cka_ratio(*self.terms())

    def terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """The means over batches of HSIC(x, y) (L1, L2), HSIC(x, x) (L1,) and HSIC(y, y) (L2,)."""
        if self._cross is None or self._own_x is None or self._own_y is None:
            raise ValueError("MinibatchCKA: there was no batch yet")
        cross, own_x, own_y = (part.cpu() / self.batches for part in (self._cross, self._own_x, self._own_y))
        return cross, own_x, own_y

    @property
    def reasons(self) -> dict[tuple[int, int], str]:
        """{(layer of xs, layer of ys): why its CKA is NaN}."""
        _, own_x, own_y = self.terms()
        return {
            (i, j): why
            for i, x in enumerate(own_x.tolist())
            for j, y in enumerate(own_y.tolist())
            if (why := reason(x) or reason(y)) is not None
        }

    def _flat(self, layers: Sequence[Tensor]) -> Tensor:
        return torch.stack([centred_gram(rows_of(x), self.estimator).reshape(-1) for x in layers])

    def _check(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> int:
        sizes = {len(x) for x in (*xs, *ys)}
        if not xs or not ys or len(sizes) != 1:
            raise ValueError(f"MinibatchCKA: every layer needs the same images, not {sorted(sizes)} of them")
        if self._cross is not None and self._cross.shape != (len(xs), len(ys)):
            before = " and ".join(map(str, self._cross.shape))
            raise ValueError(f"MinibatchCKA: {len(xs)} and {len(ys)} layers after {before}")
        (n,) = sizes
        if n < LEAST[self.estimator]:
            raise ValueError(
                f"MinibatchCKA: a batch has at least {LEAST[self.estimator]} images, not {n}; leave it out"
            )
        return n


def reason(own: float) -> str | None:
    """Why a layer with this HSIC with itself has no CKA; None when it has one."""
    if math.isnan(own) or math.isinf(own):
        return "its outputs are not finite"
    return "its outputs are the same for every image" if own <= 0 else None
