"""VGG-19 with batch norm for images of 32 px: timm's convolutions and five max-pools, then one linear classifier.

At 32 px the last map has one position: for class-activation maps name an earlier layer, or use larger images.
"""

from __future__ import annotations

from typing import Any

from timm.layers import ClassifierHead
from timm.models.vgg import VGG
from torch import nn

from transferkit.model.nets import base

CONVOLUTIONS = (2, 2, 4, 4, 4)
WIDTHS = (64, 128, 256, 512, 512)
SMALLEST_MLP = 1 / 4096
"""timm's VGG always makes its two dense layers; this ratio keeps the ones that are thrown away small."""


class Vgg32px(VGG):  # type: ignore[misc]
    """(b, C, 32, 32) -> (b, 512, 1, 1) -> logits: timm's VGG without its dense layers."""

    def __init__(
        self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg", drop_rate: float = 0.0
    ) -> None:
        layers: list[Any] = []
        for count, width in zip(CONVOLUTIONS, WIDTHS, strict=True):
            layers += [width] * count + ["M"]
        super().__init__(
            layers, num_classes=num_classes, in_chans=in_chans, mlp_ratio=SMALLEST_MLP, norm_layer=nn.BatchNorm2d
        )
        self.drop_rate = drop_rate
        self.pre_logits = nn.Identity()
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate)
        self.head_hidden_size = self.head.in_features * self.head.global_pool.feat_mult()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter names to layers: the blocks between max-pools, or each convolution with its norm."""
        layers, at = [], 0
        for count in CONVOLUTIONS:
            pairs = [rf"{at + 3 * number}|{at + 3 * number + 1}" for number in range(count)]
            layers += ["|".join(pairs)] if coarse else pairs
            at += 3 * count + 1
        return {"blocks": [(rf"^features\.(?:{layer})\.", (number,)) for number, layer in enumerate(layers)]}


base.register(Vgg32px, "transferkit_vgg19", layers=6, first_conv="features.0", classifier="head.fc")
