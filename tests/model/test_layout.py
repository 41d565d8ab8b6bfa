"""Channels and positions of real networks' layers, against timm's own reading of them as (b, C, h, w)."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from transferkit.model import Reading
from transferkit.model.layout import reading_of
from transferkit.model.taps import Store, default_taps, install, tap_channels

SWIN = {"img_size": 64, "window_size": 2, "depths": (1, 1), "embed_dim": 8, "num_heads": (1, 1)}
VIT = {"img_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
NETWORKS = {
    "NCHW, residual": ("test_resnet", {}, 64, 0),
    "NCHW, ConvNeXt": ("test_convnext", {}, 64, 0),
    "NHWC, Swin": ("swin_tiny_patch4_window7_224", SWIN, 64, 0),
    "NHWC, MambaOut": ("test_mambaout", {}, 64, 0),
    "tokens, a class token": ("deit_tiny_patch16_224", VIT, 64, 1),
    "tokens, a class and a distillation token": ("deit_tiny_distilled_patch16_224", VIT, 64, 2),
    "tokens, no more than positions": (
        "vit_base_patch16_224",
        {**VIT, "class_token": False, "global_pool": "avg"},
        64,
        0,
    ),
    "tokens, a class token that comes later": ("cait_xxs24_224", VIT, 64, 0),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys(), scope="module")
def passed(request):
    """(network, image size, tokens before the positions, {layer: output}, {layer: timm's form of it, (b, C, h, w)})."""
    name, options, size, prefix = request.param
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False, num_classes=3, **options).eval()
    layers, outputs = default_taps(net), Store()
    install(net, layers, outputs)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        listed = net.forward_intermediates(images, intermediates_only=True, norm=False, output_fmt="NCHW")
    known = dict(zip([entry["module"] for entry in net.feature_info], listed[-len(net.feature_info) :], strict=True))
    return net, size, prefix, outputs, {layer: known[layer] for layer in layers}


def readings(net, size, *, with_width):
    return {
        name: reading_of(net, (size, size), tap_channels(net, name) if with_width else None)
        for name in default_taps(net)
    }


@pytest.mark.parametrize("with_width", [True, False])
def test_channels_and_positions_are_timms(passed, with_width):
    net, size, prefix, outputs, expected = passed
    for layer, reading in readings(net, size, with_width=with_width).items():
        output, maps = outputs[layer], expected[layer]
        torch.testing.assert_close(reading.positions(output), maps.flatten(2).transpose(1, 2))
        torch.testing.assert_close(reading.pooled(output), maps.mean(dim=(2, 3)))
        layout = reading.layout(output.shape)
        assert layout is not None and (layout.grid, layout.prefix) == (tuple(maps.shape[2:]), prefix)
        first = reading.channels_first(output)
        assert first.shape[1] == maps.shape[1] and first.data_ptr() == output.data_ptr()
        if output.dim() == 3:  # all tokens stay where whole outputs are compared
            assert first.shape[2] == output.shape[1] == maps.shape[2] * maps.shape[3] + prefix


def test_layers_inside_of_a_stage_may_be_wider_than_the_stage():
    """An inner layer's channels need not be those that timm lists for its stage: the image's proportions decide."""
    net = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, **SWIN).eval()
    outputs = Store()
    install(net, ["layers.1.downsample.norm"], outputs)
    with torch.no_grad():
        net(torch.zeros(1, 3, 64, 64))
    output = outputs["layers.1.downsample.norm"]
    reading = reading_of(net, (64, 64), tap_channels(net, "layers.1.downsample.norm"))
    assert tuple(output.shape) == (1, 8, 8, 32) and reading.channels == 16
    assert reading.pooled(output).shape == (1, 32)


@pytest.mark.parametrize(
    ("shape", "channels", "axis"),
    [
        ((2, 8, 4, 4), 8, 1),
        ((2, 4, 4, 8), 8, 3),
        ((2, 8, 8, 8), 8, 1),
        ((2, 4, 4, 8), None, 3),
        ((2, 8, 4, 4), None, 1),
        ((2, 6, 4, 4), 8, 1),
        ((2, 4, 4, 6), 8, 3),
        ((2, 3, 5, 7), None, 1),
        ((2, 17, 8), 8, 2),
        ((2, 8, 17), 8, 1),
        ((2, 8, 8), 8, 2),
        ((2, 17, 8), None, 2),
        ((2, 8), 8, 1),
        ((2, 8, 3, 4, 5), 8, 1),
    ],
)
def test_where_the_channels_are(shape, channels, axis):
    reading = Reading(channels, (64, 64))
    assert reading.channel_axis(shape) == axis
    assert reading.channels_first(torch.zeros(shape)).shape[1] == shape[axis]
    assert reading.pooled(torch.zeros(shape)).shape == (2, shape[axis])


def test_means_and_positions_by_hand():
    wide = Reading(2, (32, 64))
    output = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels of one row and two columns
    assert wide.positions(output).tolist() == [[[1.0, 3.0], [2.0, 0.0]]]
    assert wide.pooled(output).tolist() == [[1.5, 1.5]]
    assert wide.pooled(output.permute(0, 2, 3, 1)).tolist() == [[1.5, 1.5]]
    tokens = torch.tensor([[[9.0, 9.0], [1.0, 3.0], [2.0, 0.0]]])  # the first stands for no position
    with_prefix = Reading(2, (32, 64), prefixes=(1, 0))
    assert with_prefix.pooled(tokens).tolist() == [[1.5, 1.5]]
    assert with_prefix.pooled(tokens[:, 1:]).tolist() == [[1.5, 1.5]]
    assert wide.pooled(tokens).tolist() == [[4.0, 4.0]]
    rows = torch.tensor([[1.0, 2.0]])
    assert wide.positions(rows).tolist() == [[[1.0, 2.0]]] and wide.pooled(rows) is rows


def test_prefix_tokens_are_tried_where_the_network_says_nothing():
    assert reading_of(nn.Linear(2, 2), (8, 8), 5) == Reading(5, (8, 8), (0, 1), ())
