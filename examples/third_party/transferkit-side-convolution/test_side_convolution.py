"""What it computes, against values by hand; and that it keeps the promises of its hooks."""

from __future__ import annotations

import torch
from torch import nn
from transferkit.testing import check_plugin, tiny_model

from transferkit_side_convolution import SideConvolution
from transferkit_side_convolution.layer import parallel


def test_it_starts_as_the_layer_and_merges_into_one() -> None:
    torch.manual_seed(0)
    layer, beside, images = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1, bias=False), torch.randn(2, 3, 8, 8)
    changed = parallel(layer)
    torch.testing.assert_close(changed(images), layer(images))
    changed.beside.data.copy_(beside.weight.data)
    torch.testing.assert_close(changed(images), layer(images) + beside(images))
    plain = changed.merged()
    assert type(plain) is nn.Conv2d
    torch.testing.assert_close(plain(images), layer(images) + beside(images))


def test_it_takes_the_place_of_the_layers_that_are_named() -> None:
    found = SideConvolution("layer4*").adapt(tiny_model())
    assert found and all(name.startswith("layer4") for name in found)


def test_keeps_the_promises_of_a_plugin() -> None:
    check_plugin(SideConvolution, layers="layer4*")
