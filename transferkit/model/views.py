"""Test-time augmentation: the mean of a model's probabilities over several views of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferkit.model.wrapper import Output, TransferModel

Kind = Literal["flips", "crops"]
PASSES: dict[Kind, int] = {"flips": 2, "crops": 10}
"""How many passes an image takes, instead of one."""
KEPT = 7 / 8  # of each side, in a corner's view


def views(images: Tensor, kind: Kind) -> Iterator[Tensor]:
    """Of images (n, C, H, W), preprocessed: themselves, then each other view, in the same shape.

    `flips` adds the mirror image; `crops` also the four corners, 7/8 of each side, enlarged again, and their mirrors.
    """
    yield images
    yield images.flip(-1)
    if kind == "crops":
        height, width = images.shape[-2:]
        tall, wide = max(1, round(height * KEPT)), max(1, round(width * KEPT))
        for top in (0, height - tall):
            for left in (0, width - wide):
                corner = images[..., top : top + tall, left : left + wide]
                larger = F.interpolate(corner, size=(height, width), mode="bilinear", align_corners=False)
                yield larger
                yield larger.flip(-1)


def over_views(images: Tensor, kind: Kind, answer: Callable[[Tensor], Tensor]) -> Tensor:
    """(n, K): the mean over the views of what `answer` gives, such as probabilities."""
    return torch.stack([answer(view) for view in views(images, kind)]).mean(dim=0)


class OverViews(nn.Module):
    """A model whose logits are the logarithm of its mean probabilities over views: their softmax is that mean."""

    def __init__(self, model: TransferModel, kind: Kind) -> None:
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, images: Tensor) -> Output:
        """(n, C, H, W) -> logits (n, K) float32; features are those of the image itself, taps there are none."""
        features: list[Tensor] = []

        def answer(view: Tensor) -> Tensor:
            output: Output = self.model(view)
            features.append(output.features)
            return output.logits.float().softmax(dim=1)

        mean = over_views(images, self.kind, answer)
        return Output(mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), features[0], {})
