"""Gram matrices centred for HSIC: right in float32 also for layers whose images share a large common part."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Estimator = Literal["unbiased", "biased"]
LEAST = {"unbiased": 4, "biased": 2}
"""Images that an estimator needs."""
CONSTANT = 4.0
"""A spread below this many roundings of the values themselves is rounding, and no spread."""
IN_CACHE, LEAST_COLUMNS = 1 << 17, 512
"""On a CPU rows are worked through in pieces of so many values: writing them out whole takes as long as the product."""
EMPTY = 8.0
"""The same as CONSTANT for a Gram matrix of which centring leaves next to nothing."""


def check_estimator(estimator: str) -> None:
    """Raise ValueError for a name that is none."""
    if estimator not in get_args(Estimator):
        raise ValueError(f"the estimator is one of {', '.join(get_args(Estimator))}, not {estimator!r}")


def rows_of(x: Tensor) -> Tensor:
    """(n, …) -> (n, m), one row per image, at least float32. A view where the memory allows.

    The order within a row is that of the memory: nothing here depends on it.
    """
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1)
    x = x.detach().reshape(len(x), -1) if x.numel() else x.detach().reshape(len(x), 0)
    if not x.is_floating_point():
        return x.double()
    return x.float() if x.dtype.itemsize < 4 else x


def gram(x: Tensor) -> tuple[Tensor, Tensor]:
    """(n, m) -> the float64 (n, n) Gram matrix of its rows less their mean, and a bool: are the rows all alike?

    The mean goes first: HSIC does not see it, and in float32 its square would swallow the rest.
    """
    n = len(x)
    product = torch.zeros(n, n, dtype=torch.float64, device=x.device)
    of_mean = torch.zeros((), dtype=torch.float64, device=x.device)
    averaging = torch.full((1, n), 1 / n, dtype=x.dtype, device=x.device)
    columns = x.shape[1] if x.is_cuda else max(LEAST_COLUMNS, IN_CACHE // n)
    for start in range(0, x.shape[1], max(columns, 1)):
        piece = x[:, start : start + columns]
        mean = averaging @ piece
        apart = piece - mean
        product += apart @ apart.T
        of_mean += mean.double().square().sum()
    trace = product.trace()
    spread = trace - product.sum() / n
    size = trace + n * of_mean
    return product, spread <= (CONSTANT * torch.finfo(x.dtype).eps) ** 2 * size


def centred(product: Tensor, estimator: Estimator) -> Tensor:
    """A symmetric (n, n) matrix centred so that HSIC is a plain inner product: H K H, or U-centred.

    U-centring (Székely and Rizzo 2014): the diagonal is left out, sums are divided by n - 2 and (n - 1)(n - 2).
    """
    n = len(product)
    if estimator == "biased":
        means = product.mean(dim=0)
        return product - means - means[:, None] + means.mean()
    off = product - torch.diag(product.diagonal())
    sums = off.sum(dim=0) / (n - 2)
    off = off - sums - sums[:, None] + sums.sum() / (n - 1)
    return off - torch.diag(off.diagonal())


def centred_gram(x: Tensor, estimator: Estimator) -> Tensor:
    """(n, m) -> (n, n) float64. All zero where the rows are alike, or where nothing but rounding is left."""
    product, alike = gram(x)
    return without_rounding(centred(product, estimator), product, alike, x.dtype)


def without_rounding(result: Tensor, product: Tensor, alike: Tensor, dtype: torch.dtype) -> Tensor:
    """The centred matrix, or zeros where it is rounding in `dtype`: a ratio of two roundings would look like CKA."""
    empty = result.norm() <= EMPTY * torch.finfo(dtype).eps * product.norm()
    return torch.where(alike | empty, torch.zeros_like(result), result)


def hsic_scale(n: int, estimator: Estimator) -> float:
    """What an inner product of centred Gram matrices is multiplied by: 1 / (n (n - 3)), or 1 / (n - 1)²."""
    return 1 / (n * (n - 3)) if estimator == "unbiased" else 1 / (n - 1) ** 2


def cka_ratio(cross: Tensor, own_x: Tensor, own_y: Tensor) -> Tensor:
    """HSIC (L1, L2) over the root of the products of the layers' own: (L1,) and (L2,). NaN where one is not positive.

    Not clipped: an unbiased estimate may lie outside 0..1.
    """
    scale = own_x.clamp(min=0).sqrt()[:, None] * own_y.clamp(min=0).sqrt()
    return torch.where(scale > 0, cross / scale, torch.nan)
