"""A multi-layer perceptron for tables and small images: whatever comes in is flattened.

Paper 004 uses "a 6-layer multi-layer perceptron with 92,001 parameters" on 50 inputs and prints no widths. No constant
width has that count; 250-250-60-20-10 has exactly it and is the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from timm.layers import to_2tuple
from torch import Tensor, nn

from transferkit.model.nets import base

HIDDEN = (250, 250, 60, 20, 10)


class Mlp(base.Net):
    """(b, in_chans, H, W) -> hidden layers with ReLU and dropout -> logits; `img_size` is H = W or (H, W).

    A row of a table with d columns is an image of one line: in_chans=1, img_size=(1, d).
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int | Sequence[int] = 32,
        hidden: Sequence[int] = HIDDEN,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, drop_rate)
        self.in_features = in_chans * prod(to_2tuple(img_size))
        widths = _checked(hidden)
        inputs = (self.in_features, *widths[:-1])
        self.flatten = nn.Flatten()
        self.layers = nn.Sequential(*(base.Dense(*pair, drop_rate) for pair in zip(inputs, widths, strict=True)))
        self.num_features = widths[-1]
        self.feature_info = [
            {"num_chs": width, "reduction": 1, "module": f"layers.{number}"} for number, width in enumerate(widths)
        ]
        self._classify(widths[-1])

    def forward_features(self, images: Tensor) -> Tensor:
        """(b, in_chans, H, W) -> (b, d), the last hidden layer."""
        return self.layers(self.flatten(images))  # type: ignore[no-any-return]

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """(b, d) -> logits (b, K), or with `pre_logits` (b, d) itself."""
        return maps if pre_logits else self._logits(maps)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Parameter names to layers: the hidden layers."""
        return {"layers": r"^layers\.(\d+)"}


def _checked(hidden: Any) -> tuple[int, ...]:
    widths = tuple(hidden) if isinstance(hidden, Sequence) and not isinstance(hidden, str) else ()
    if not widths or not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(f"hidden is a list of widths such as [250, 60], not {hidden!r}")
    return widths


base.register(
    Mlp,
    "transferkit_mlp",
    layers=lambda options: len(_checked(options.get("hidden", HIDDEN))),
    fixed_input_size=True,
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
    classifier="head",
)
