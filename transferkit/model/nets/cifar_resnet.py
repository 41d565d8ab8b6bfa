"""The residual networks for CIFAR of He et al. 2016, section 4.2: 6n + 2 layers, parameter-free shortcuts (option A).

Names of parameters are those of akamaster/pytorch_resnet_cifar10, so that its published weights load as they are.
"""

from __future__ import annotations

from timm.layers import DropPath
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from transferkit.model.nets import base

WIDTHS = (16, 32, 64)
STAGES = ("layer1", "layer2", "layer3")
TAPS = ("act1", *STAGES)


class CifarResNet(base.PooledNet):
    """(b, C, 32, 32) -> maps (b, 64, 8, 8) -> their means -> logits. `depth` is 6n + 2 for n blocks per stage."""

    CLASSIFIER = "linear"

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, drop_rate)
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"the depth of a CIFAR ResNet is 6n + 2, not {depth}")
        self.conv1 = nn.Conv2d(in_chans, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.act1 = nn.ReLU(inplace=True)
        rates = [drop_path_rate * at / max(1, 3 * blocks - 1) for at in range(3 * blocks)]
        before = WIDTHS[0]
        for number, (name, width) in enumerate(zip(STAGES, WIDTHS, strict=True)):
            self.add_module(name, _stage(before, width, rates[number * blocks : (number + 1) * blocks]))
            before = width
        self.feature_info = [
            {"num_chs": width, "reduction": reduction, "module": name}
            for name, width, reduction in zip(TAPS, (WIDTHS[0], *WIDTHS), (1, 1, 2, 4), strict=True)
        ]
        self._finish(before, global_pool)

    def forward_features(self, images: Tensor) -> Tensor:
        """(b, C, H, W) -> (b, 64, H/4, W/4)."""
        maps: Tensor = self.act1(self.bn1(self.conv1(images)))
        for name in STAGES:
            maps = getattr(self, name)(maps)
        return maps

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Parameter names to layers: the stem and the stages, or each block."""
        return {"stem": r"^conv1|^bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}


class PaddedShortcut(nn.Module):
    """Option A: every second pixel, and zero maps on both sides of the channels for those that are missing."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.padding = (outputs - inputs) // 2

    def forward(self, maps: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, h/2, w/2)."""
        return nn.functional.pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


def _stage(before: int, width: int, drop_paths: list[float]) -> nn.Sequential:
    """timm's basic blocks; where the width grows, the first has a stride of 2 and the padded shortcut."""
    stage = nn.Sequential()
    for rate in drop_paths:
        grows = width != before
        stage.append(
            BasicBlock(
                before,
                width,
                stride=2 if grows else 1,
                downsample=PaddedShortcut(before, width) if grows else None,
                drop_path=DropPath(rate) if rate else None,
            )
        )
        before = width
    return stage


for depth in (20, 32, 44, 56, 110):
    base.register(
        CifarResNet,
        f"transferkit_resnet{depth}",
        layers=len(TAPS),
        fixed={"depth": depth},
        first_conv="conv1",
        classifier="linear",
    )
