"""The ten-layer network of paper 004: nine 3x3 convolutions with batch norm, ReLU and dropout, one linear layer.

The paper prints no widths, strides or dropout rate. Ours follow the All-CNN that its predecessor, Gao and Chaudhari
2021, trained: three blocks of three convolutions, 64, 128 and 256 wide, of which the first two end in a stride of 2.
"""

from __future__ import annotations

from timm.layers import ConvNormAct
from torch import Tensor, nn

from transferkit.model.nets import base

WIDTHS = (64, 128, 256)
CONVOLUTIONS = 3


class Cnn10(base.PooledNet):
    """(b, C, 32, 32) -> maps (b, 256·width, 8, 8) -> their means -> logits.

    `width` multiplies all widths. Dropout with `drop_rate` follows the first two blocks and the pooling.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.2,
        width: float = 1.0,
    ) -> None:
        super().__init__(num_classes, in_chans, drop_rate)
        widths = [round(each * width) for each in WIDTHS]
        if min(widths) < 1:
            raise ValueError(f"width={width} leaves a layer without channels")
        self.blocks = nn.Sequential()
        before = in_chans
        for number, channels in enumerate(widths):
            self.blocks.append(_block(before, channels, stride=1 if number == len(widths) - 1 else 2))
            before = channels
        self.feature_info = [
            {"num_chs": channels, "reduction": min(2 ** (number + 1), 4), "module": f"blocks.{number}"}
            for number, channels in enumerate(widths)
        ]
        self._finish(before, global_pool)

    def forward_features(self, images: Tensor) -> Tensor:
        """(b, C, H, W) -> (b, d, H/4, W/4)."""
        first, second, third = self.blocks
        return third(self.drop(second(self.drop(first(images)))))  # type: ignore[no-any-return]

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Parameter names to layers: the blocks, or each convolution with its norm."""
        return {"blocks": r"^blocks\.(\d+)" if coarse else r"^blocks\.(\d+)\.(\d+)"}


def _block(before: int, channels: int, stride: int) -> nn.Sequential:
    inputs = [before] + [channels] * (CONVOLUTIONS - 1)
    strides = [1] * (CONVOLUTIONS - 1) + [stride]
    return nn.Sequential(
        *(ConvNormAct(inside, channels, 3, stride=step) for inside, step in zip(inputs, strides, strict=True))
    )


base.register(Cnn10, "transferkit_cnn10", layers=len(WIDTHS), first_conv="blocks.0.0.conv", classifier="head")
