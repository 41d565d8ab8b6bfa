"""The baseline of paper 001, appendix A.1: three 3x3 convolutions, two dense layers, never shown another domain.

Input size and padding are not printed. Ours are 224 px and a padding of 1; the maps are averaged to 7x7 before the
first dense layer, so that its size does not depend on the image's.
"""

from __future__ import annotations

from torch import Tensor, nn

from transferkit.model.nets import base

WIDTHS = (32, 64, 128)
DENSE = (512, 128)
GRID = 7


class SmallCnn(base.Net):
    """(b, C, H, W) -> maps (b, 128, H/8, W/8) -> 7x7 -> dense 512 -> dense 128 -> logits.

    Dropout with `drop_rate` follows both dense layers. The smallest image is 8x8.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 3, drop_rate: float = 0.5) -> None:
        super().__init__(num_classes, in_chans, drop_rate)
        stages = zip((in_chans, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.stages = nn.Sequential(*(Stage(*channels) for channels in stages))
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.num_features = WIDTHS[-1]
        dense = zip((WIDTHS[-1] * GRID**2, *DENSE[:-1]), DENSE, strict=True)
        self.dense = nn.Sequential(*(base.Dense(*widths, drop_rate) for widths in dense))
        self.feature_info = [
            {"num_chs": channels, "reduction": 2 ** (number + 1), "module": f"stages.{number}"}
            for number, channels in enumerate(WIDTHS)
        ]
        self._classify(DENSE[-1])

    def forward_features(self, images: Tensor) -> Tensor:
        """(b, C, H, W) -> (b, 128, H/8, W/8)."""
        return self.stages(images)  # type: ignore[no-any-return]

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """(b, 128, h, w) -> logits (b, K), or with `pre_logits` the second dense layer's output (b, 128)."""
        features: Tensor = self.dense(self.pool(maps).flatten(1))
        return features if pre_logits else self._logits(features)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Parameter names to layers: the three convolutions, the two dense layers."""
        return {"stages": r"^stages\.(\d+)", "dense": r"^dense\.(\d+)"}


class Stage(nn.Module):
    """A convolution, ReLU and a 2x2 max-pool."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)

    def forward(self, maps: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, h/2, w/2)."""
        return self.pool(self.act(self.conv(maps)))  # type: ignore[no-any-return]


base.register(
    SmallCnn,
    "transferkit_small_cnn",
    layers=len(WIDTHS),
    input_size=(3, 224, 224),
    crop_pct=0.875,
    first_conv="stages.0.conv",
    classifier="head",
)
