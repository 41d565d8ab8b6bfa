"""ResNet-18 for images of 32 px: timm's, with a 3x3 stem of stride 1 and no max-pool, so that maps end at 4x4."""

from __future__ import annotations

from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from transferkit.model.nets import base

STEM_WIDTH = 64
STEM_REDUCTION = 4
"""By how much timm's own stem makes the maps smaller."""


class ResNet32px(ResNet):  # type: ignore[misc]
    """timm's ResNet of basic blocks with the stem for small images."""

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(
            BasicBlock,
            (2, 2, 2, 2),
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            zero_init_last=False,
        )
        self.conv1 = nn.Conv2d(in_chans, STEM_WIDTH, 3, padding=1, bias=False)
        base.initialise_convolutions(self.conv1)
        self.maxpool = nn.Identity()
        for entry in self.feature_info:
            entry["reduction"] = max(1, entry["reduction"] // STEM_REDUCTION)


base.register(ResNet32px, "transferkit_resnet18", layers=5, first_conv="conv1", classifier="fc")
