"""`check_plugin` on adapters: each promise broken once, and named."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from transferkit.model import recast
from transferkit.testing import check_plugin

pytestmark = pytest.mark.filterwarnings("ignore:importing .* imports torch")
LAYER = "layer2.0.conv2"
CALLS = itertools.count()


class Scaled(nn.Conv2d):
    """A factor per output; `fault` says what is wrong with it."""

    fault = ""

    def forward(self, x):
        y = super().forward(x)
        if self.fault == "unused":
            return y
        if self.fault == "random":
            return y + torch.rand(()) * self.gain[:, None, None]
        if self.fault == "batch":
            return y * self.gain[:, None, None] - y.mean(dim=0)
        if self.fault == "hidden":
            return y * (self.gain + self.number)[:, None, None]
        return y * self.gain[:, None, None]

    def merged(self):
        plain = recast(self, nn.Conv2d)
        del plain.gain
        if self.fault == "changed":
            self.weight.data.mul_(2)
        if self.fault != "unmerged":
            plain.weight = nn.Parameter(self.weight * self.gain[:, None, None, None])
        return self if self.fault == "itself" else plain


@dataclass
class Gain:
    fault: str = ""
    freezes: ClassVar[bool] = True

    def adapt(self, model):
        layer = recast(model.net.get_submodule(LAYER), Scaled)
        layer.fault = self.fault
        layer.gain = nn.Parameter(torch.ones(layer.out_channels))
        if self.fault == "drawn":
            layer.gain.data += next(CALLS)
        if self.fault == "hidden":
            layer.number = float(torch.rand(()))
        if self.fault == "lent":
            model.net.get_submodule(LAYER).weight.data.mul_(2)
        return {LAYER: layer}


@dataclass
class Kept(Gain):
    """What cannot be merged need not be."""

    fault: str = "unmerged"
    merges: ClassVar[bool] = False


@dataclass
class Nothing:
    """It freezes everything and has nothing of its own."""

    freezes: ClassVar[bool] = True

    def adapt(self, model):
        layer = recast(model.net.get_submodule(LAYER), Scaled)
        layer.register_buffer("gain", torch.ones(layer.out_channels), persistent=False)
        return {LAYER: layer}


def test_sound_adapters_pass() -> None:
    check_plugin(Gain)
    check_plugin(Kept)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("unused", "a parameter that the layer does not use: layer2.0.conv2.gain"),
        ("random", "answer differently in evaluation mode"),
        ("batch", "answer differently for an image alone"),
        ("hidden", "with something that is in no parameter or buffer|another layer"),
        ("unmerged", r"merged\(\) answers differently \(by .* of the largest logit\)"),
        ("changed", r"merged\(\) changes them"),
        ("itself", r"merged\(\) of its layer .* is not like the plain Conv2d: gain"),
        ("drawn", "gives another layer for .* when it is called again"),
        ("lent", "changes net.layer2.0.conv2.weight of the model"),
    ],
)
def test_a_broken_promise_is_named(fault, message) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        check_plugin(Gain, fault=fault)
    assert str(caught.value).startswith("Gain.adapt") and "\n" not in str(caught.value)


def test_nothing_of_its_own() -> None:
    with pytest.raises(AssertionError, match="nothing would train"):
        check_plugin(Nothing)
