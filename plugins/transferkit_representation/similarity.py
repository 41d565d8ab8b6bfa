"""Linear CKA: of two representations at once, and of all pairs of layers, over minibatches or over all images.

Kornblith et al. 2019 (CKA); Song et al. 2012 (the unbiased HSIC); Nguyen, Raghu and Kornblith 2021 (over minibatches).
Gram matrices are right in float32 also for layers whose images share a large common part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from transferkit.errors import InputError
from transferkit_representation.spectra import apart

Estimator = Literal["unbiased", "biased"]
LEAST = {"unbiased": 4, "biased": 2}
"""Images that an estimator needs."""
CONSTANT = 4.0
"""A spread below this many roundings of the values themselves is rounding, and no spread."""
IN_CACHE, LEAST_COLUMNS = 1 << 17, 512
"""On a CPU rows are worked through in pieces of so many values: writing them out whole takes as long as the product."""
EMPTY = 8.0
"""The same as CONSTANT for a Gram matrix of which centring leaves next to nothing."""
CHUNK = 1 << 20
"""Entries of Gram matrices that are multiplied at a time, in float64."""


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


def centred_gram(x: Tensor, estimator: Estimator) -> Tensor:
    """(n, m) -> (n, n) float64. All zero where the rows are alike, or where nothing but rounding is left.

    The rows' mean goes first: HSIC does not see it, and in float32 its square would swallow the rest.
    """
    n = len(x)
    product = torch.zeros(n, n, dtype=torch.float64, device=x.device)
    of_mean = torch.zeros((), dtype=torch.float64, device=x.device)
    averaging = torch.full((1, n), 1 / n, dtype=x.dtype, device=x.device)
    columns = x.shape[1] if x.is_cuda else max(LEAST_COLUMNS, IN_CACHE // n)
    for start in range(0, x.shape[1], max(columns, 1)):
        piece = x[:, start : start + columns]
        mean = averaging @ piece
        rest = piece - mean
        product += rest @ rest.T
        of_mean += mean.double().square().sum()
    return centred(product, product.trace() + n * of_mean, x.dtype, estimator)


def centred(product: Tensor, energy: Tensor | float, dtype: torch.dtype, estimator: Estimator) -> Tensor:
    """The (n, n) Gram matrix of rows in `dtype`, centred so that HSIC is a plain inner product: H K H, or U-centred.

    U-centring (Székely and Rizzo 2014): the diagonal is left out, sums are divided by n - 2 and (n - 1)(n - 2).
    Zeros where it is rounding of rows with Σ ‖x‖² = `energy`: a ratio of two roundings would look like CKA.
    """
    n, rounding = len(product), torch.finfo(dtype).eps
    alike = product.trace() - product.sum() / n <= (CONSTANT * rounding) ** 2 * energy
    if estimator == "biased":
        means = product.mean(dim=0)
        result = product - means - means[:, None] + means.mean()
    else:
        off = product - torch.diag(product.diagonal())
        sums = off.sum(dim=0) / (n - 2)
        off = off - sums - sums[:, None] + sums.sum() / (n - 1)
        result = off - torch.diag(off.diagonal())
    return torch.where(alike | (result.norm() <= EMPTY * rounding * product.norm()), torch.zeros_like(result), result)


def hsic_scale(n: int, estimator: Estimator) -> float:
    """What an inner product of centred Gram matrices is multiplied by: 1 / (n (n - 3)), or 1 / (n - 1)²."""
    return 1 / (n * (n - 3)) if estimator == "unbiased" else 1 / (n - 1) ** 2


def cka_ratio(cross: Tensor, own_x: Tensor, own_y: Tensor) -> Tensor:
    """HSIC (L1, L2) over the root of the products of the layers' own: (L1,) and (L2,). NaN where one is not positive.

    Not clipped: an unbiased estimate may lie outside 0..1.
    """
    scale = own_x.clamp(min=0).sqrt()[:, None] * own_y.clamp(min=0).sqrt()
    return torch.where(scale > 0, cross / scale, torch.nan)


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
        return _over(float((left * right).sum()), float(left.norm()) * float(right.norm()))
    return _from_columns(a, b, estimator)


def _over(value: float, scale: float) -> float:
    return value / scale if scale > 0 and math.isfinite(value) else math.nan


def _from_columns(x: Tensor, y: Tensor, estimator: Estimator) -> float:
    """The same for many images of few dimensions, where xᵀy is smaller than the Gram matrices."""
    x, y = (_apart(part) for part in (x, y))
    cross, own_x, own_y = (_hsic_of_columns(a, b, estimator) for a, b in ((x, y), (x, x), (y, y)))
    return _over(cross, math.sqrt(max(own_x, 0.0)) * math.sqrt(max(own_y, 0.0)))


def _apart(x: Tensor) -> Tensor:
    """Rows less their mean; zero where that is no more than rounding."""
    rows = apart(x)
    return rows if not float(rows.norm()) <= CONSTANT * torch.finfo(x.dtype).eps * float(x.norm()) else 0 * rows


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
        self._terms: list[list[Tensor]] = []

    @torch.no_grad()
    def update(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> None:
        """One batch: the outputs (n, …) of each layer of both sides, image i the same in all.

        Raises ValueError for other numbers of images or layers than before or between them, and for fewer than
        4 images (biased: 2): leave a short last batch out.
        """
        same = ys is xs
        xs, ys = [torch.as_tensor(x) for x in xs], [torch.as_tensor(y) for y in ys]
        sizes = {len(x) for x in (*xs, *ys)}
        if not xs or not ys or len(sizes) != 1:
            raise ValueError(f"MinibatchCKA: every layer needs the same images, not {sorted(sizes)} of them")
        if self._terms and self._terms[0][0].shape != (len(xs), len(ys)):
            before = " and ".join(map(str, self._terms[0][0].shape))
            raise ValueError(f"MinibatchCKA: {len(xs)} and {len(ys)} layers after {before}")
        n, least = sizes.pop(), LEAST[self.estimator]
        if n < least:
            raise ValueError(f"MinibatchCKA: a batch has at least {least} images, not {n}; leave it out")
        a = self._flat(xs)
        b = a if same else self._flat(ys).to(a.device)
        scale = hsic_scale(n, self.estimator)
        terms = scale * (a @ b.T), scale * a.square().sum(dim=1), scale * b.square().sum(dim=1)
        self._terms.append([term.cpu() for term in terms])

    def compute(self) -> Tensor:
        """(layers, layers) float64 on the CPU, not clipped. NaN where `reasons` says why. ValueError before a batch."""
        return cka_ratio(*self.terms())

    def terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """The means over batches of HSIC(x, y) (L1, L2), HSIC(x, x) (L1,) and HSIC(y, y) (L2,)."""
        cross, own_x, own_y = (part.mean(dim=0) for part in self.by_batch())
        return cross, own_x, own_y

    def by_batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same terms of each batch: (batches, L1, L2), (batches, L1) and (batches, L2)."""
        if not self._terms:
            raise ValueError("MinibatchCKA: there was no batch yet")
        cross, own_x, own_y = (torch.stack(part) for part in zip(*self._terms, strict=True))
        return cross, own_x, own_y

    @property
    def batches(self) -> int:
        """How many there were."""
        return len(self._terms)

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


def reason(own: float) -> str | None:
    """Why a layer with this HSIC with itself has no CKA; None when it has one."""
    if math.isnan(own) or math.isinf(own):
        return "its outputs are not finite"
    return "its outputs are the same for every image" if own <= 0 else None


class FullCKA:
    """Linear CKA of all pairs of layers over all images at once: the estimate that papers print.

    It needs an n x n Gram matrix per layer, and for that the outputs of every pair of images. They are held in blocks:
    as many images as fit into the memory allowed. Feed all batches in order; while `start` is below `images`, feed
    those from image `start` on again.
    """

    def __init__(self, images: int, memory: float, estimator: Estimator = "biased") -> None:
        self.images, self.estimator, self.memory = images, estimator, memory
        self.start = 0
        """The first image of the block that is held in this pass."""
        self._end = 0
        self._sides: list[list[_Layer]] = []

    @torch.no_grad()
    def update(self, at: int, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> None:
        """The outputs of images at, at + 1, … of each layer of both sides.

        Raises InputError when the memory (GiB) is too small for the Gram matrices and one batch.
        """
        if not self._sides:
            self._sides = [[_Layer(self.images, rows_of(x)) for x in side] for side in (xs, ys)]
        if at == self.start:
            self._end = at + self._room(xs, ys)
        held = at < self._end
        for side, layers in zip((xs, ys), self._sides, strict=True):
            for x, layer in zip(side, layers, strict=True):
                layer.update(at, rows_of(x), hold=held, first=self.start == 0)

    def next_block(self) -> int:
        """After a pass: where the held block ended, the next one begins; `images` after the last."""
        self.start = min(self._end, self.images)
        for side in self._sides:
            for layer in side:
                layer.blocks.clear()
        return self.start

    def terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """HSIC of all pairs (L1, L2), and of each layer with itself (L1,), (L2,)."""
        left, right = ([layer.centred(self.estimator) for layer in side] for side in self._sides)
        scale = hsic_scale(self.images, self.estimator)
        cross = torch.zeros(len(left), len(right), dtype=torch.float64)
        own_x, own_y = torch.zeros(len(left), dtype=torch.float64), torch.zeros(len(right), dtype=torch.float64)
        step = max(1, CHUNK // self.images)
        for begin in range(0, self.images, step):
            a, b = (torch.stack([m[begin : begin + step].reshape(-1) for m in side]).double() for side in (left, right))
            cross += a @ b.T
            own_x += a.square().sum(dim=1)
            own_y += b.square().sum(dim=1)
        return scale * cross, scale * own_x, scale * own_y

    def _room(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> int:
        """How many images are held at once: whole batches, as the memory allows."""
        batch = len(xs[0])
        allowed = self.memory * 2**30 - 4.0 * self.images**2 * (len(xs) + len(ys))
        each = sum(rows_of(x)[0].numel() * 4 for x in (*xs, *ys))
        if each * batch > allowed:
            raise InputError(
                f"CKA of {len(xs)} by {len(ys)} layers over {self.images} images at once does not fit into "
                f"{self.memory:g} GiB; give representation more `memory`, fewer `images`, or the estimator "
                "unbiased-minibatch"
            )
        return max(batch, int(allowed // max(each, 1)) // batch * batch)


class _Layer:
    """The Gram matrix of one layer as it fills up. A first batch's mean is taken off: HSIC does not see it."""

    def __init__(self, images: int, first: Tensor) -> None:
        self.gram = torch.zeros(images, images, dtype=torch.float32)
        self.blocks: list[tuple[int, Tensor]] = []
        self.offset = first.mean(dim=0)
        self.energy = 0.0

    def update(self, at: int, x: Tensor, *, hold: bool, first: bool) -> None:
        if first:
            self.energy += float(x.double().norm()) ** 2
        x = x - self.offset
        if hold:
            self.blocks.append((at, x))
        for begin, block in self.blocks:
            part = (block @ x.T).float().cpu()
            self.gram[begin : begin + len(block), at : at + len(x)] = part
            self.gram[at : at + len(x), begin : begin + len(block)] = part.T

    def centred(self, estimator: Estimator) -> Tensor:
        """float32, after centring in float64."""
        return centred(self.gram.double(), self.energy, torch.float32, estimator).float()
