"""What timm asks of every model: a backbone, pooled features, one linear classifier that can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import SelectAdaptivePool2d
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

COMMON = {
    "num_classes": 10,
    "input_size": (3, 32, 32),
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
    "crop_pct": 1.0,
    "interpolation": "bilinear",
}
default_cfgs: dict[str, Any] = {}
"""Where timm looks for them: in the module of the function that it registers."""


class Net(nn.Module):
    """The common part of the nets here. A subclass builds its layers, then calls `_classify(width)`.

    `feature_info` names the layers worth tapping, with channels and reduction, as in timm.
    """

    CLASSIFIER: ClassVar[str] = "head"
    feature_info: list[dict[str, Any]]
    num_features: int

    def __init__(self, num_classes: int, in_chans: int, drop_rate: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.head_hidden_size = 0
        """The width of the features that the classifier gets."""

    def forward_features(self, images: Tensor) -> Tensor:
        """(b, C, H, W) -> what the backbone gives."""
        raise NotImplementedError

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """What the backbone gives -> logits (b, K), or with `pre_logits` the classifier's input (b, d)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """(b, C, H, W) -> logits (b, K)."""
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        """The linear layer, or an identity for a net of 0 classes."""
        return self.get_submodule(self.CLASSIFIER)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Another classifier with random weights; 0 classes: none. Raises ValueError for a pooling it cannot change."""
        if global_pool is not None:
            self._pool(global_pool)
        self.num_classes = num_classes
        self._classify(self.head_hidden_size)

    def _logits(self, features: Tensor) -> Tensor:
        logits: Tensor = self.get_classifier()(features)
        return logits

    def _pool(self, kind: str) -> None:
        raise ValueError(f"{type(self).__name__} has no global pooling that could be {kind!r}")

    def _classify(self, width: int) -> None:
        self.head_hidden_size = width
        like = next(self.parameters())
        linear = nn.Linear(width, self.num_classes, device=like.device, dtype=like.dtype) if self.num_classes else None
        setattr(self, self.CLASSIFIER, linear or nn.Identity())


class PooledNet(Net):
    """A net of convolutions whose last map is pooled over its positions; dropout with `drop_rate` follows.

    A subclass calls `_finish(width, global_pool)` at the end of its constructor.
    """

    def __init__(self, num_classes: int, in_chans: int, drop_rate: float) -> None:
        super().__init__(num_classes, in_chans, drop_rate)
        self.drop = nn.Dropout(drop_rate)

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """(b, C, h, w) -> logits (b, K), or with `pre_logits` the pooled features (b, d)."""
        features: Tensor = self.drop(self.global_pool(maps))
        return features if pre_logits else self._logits(features)

    def _finish(self, width: int, global_pool: str) -> None:
        self.num_features = width
        self._pool(global_pool)
        self._classify(self.head_hidden_size)
        initialise_convolutions(self)

    def _pool(self, kind: str) -> None:
        self.global_pool = SelectAdaptivePool2d(pool_type=kind, flatten=bool(kind))
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()


class Dense(nn.Module):
    """A linear layer, ReLU and dropout."""

    def __init__(self, inputs: int, outputs: int, drop_rate: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.act = nn.ReLU()
        self.drop = nn.Dropout(drop_rate)

    def forward(self, values: Tensor) -> Tensor:
        """(b, inputs) -> (b, outputs)."""
        return self.drop(self.act(self.linear(values)))  # type: ignore[no-any-return]


def initialise_convolutions(net: nn.Module) -> None:
    """He et al. 2015: normal with variance 2 / (outputs per position · kernel area)."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def register(
    net: Callable[..., nn.Module],
    name: str,
    layers: int | Callable[[Mapping[str, Any]], int],
    fixed: Mapping[str, Any] = MappingProxyType({}),
    **facts: Any,
) -> None:
    """Make the net known to timm under that name, without pretrained weights.

    `layers` is the number of entries in its `feature_info`, if need be by its options; `fixed` are options that nobody
    may give. Of timm's configuration `facts` say what differs from 32 px RGB, ImageNet statistics, no crop, 10 classes.
    """

    def create(pretrained: bool = False, **options: Any) -> Any:
        count = layers if isinstance(layers, int) else layers(options)
        features = {"out_indices": tuple(range(count)), "feature_cls": "hook"}
        return build_model_with_cfg(net, name, pretrained, feature_cfg=features, **fixed, **options)

    create.__name__ = name
    default_cfgs.update(generate_default_cfgs({name: {**COMMON, **facts}}))
    register_model(create)
