"""CKA of all pairs of layers over all images at once: the estimate that papers print.

It needs an n x n Gram matrix per layer, and for that the outputs of every pair of images. They are held in blocks:
as many images as fit into the memory allowed; each further block takes another pass over the images from there on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from transferkit.errors import InputError
from transferkit_representation.grams import (
    CONSTANT,
    Estimator,
    centred,
    cka_ratio,
    hsic_scale,
    rows_of,
    without_rounding,
)

CHUNK = 1 << 20  # entries of the Gram matrices that are multiplied at a time, in float64


class FullCKA:
    """Feed all batches in order; while `start` is below `images`, feed those from image `start` on again."""

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

    def next_block(self) -> None:
        """After a pass: the next block begins where the held one ended."""
        self.start = max((layer.held_until() for side in self._sides for layer in side), default=self.images)
        for side in self._sides:
            for layer in side:
                layer.blocks.clear()

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

    def compute(self) -> Tensor:
        """(L1, L2) float64."""
        return cka_ratio(*self.terms())

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
        self.dtype = first.dtype

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

    def held_until(self) -> int:
        begin, block = self.blocks[-1]
        return begin + len(block)

    def centred(self, estimator: Estimator) -> Tensor:
        """float32, after centring in float64."""
        product = self.gram.double()
        spread = product.trace() - product.sum() / len(product)
        alike = spread <= (CONSTANT * torch.finfo(torch.float32).eps) ** 2 * self.energy
        return without_rounding(centred(product, estimator), product, alike, torch.float32).float()
