"""How an output is read as a map, and that positions out of order are never taken for one."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from transferkit.analysis.maps import ActivationMaps, Wanted
from transferkit.analysis.maps.target import judge
from transferkit.errors import InputError
from transferkit.model.layout import Layout, declared_grids, readings

from .map_models import assert_same_maps, images_for, model_of, plain_maps, wrapped


def read(shape, size=(64, 96), channels=None, prefixes=(0,), grids=()):
    found = readings(shape, size, channels=channels, prefixes=prefixes, grids=grids)
    return [(layout.kind, layout.grid, layout.prefix) for layout in found]


def test_the_axis_as_wide_as_the_backbone_holds_the_channels():
    assert read((1, 512, 2, 3), channels=512) == [("channels_first", (2, 3), 0)]
    assert read((1, 2, 3, 512), channels=512) == [("channels_last", (2, 3), 0)]
    assert read((1, 7, 9, 512), channels=512) == [("channels_last", (7, 9), 0)]  # whatever the strides may be


def test_without_a_known_width_the_proportions_of_the_image_decide():
    assert read((1, 128, 4, 6)) == [("channels_first", (4, 6), 0)]
    assert read((1, 4, 6, 128)) == [("channels_last", (4, 6), 0)]
    assert read((1, 3, 197, 197), size=(64, 640)) == []


def test_tokens_fill_the_grid_that_the_model_declares_or_one_of_the_images_proportions():
    assert read((1, 25, 192), prefixes=[1], grids=[(4, 6)]) == [("tokens", (4, 6), 1)]
    assert read((1, 25, 192), prefixes=[1]) == [("tokens", (4, 6), 1)]
    assert read((1, 29, 192), prefixes=[5]) == [("tokens", (4, 6), 5)]
    assert read((1, 25, 192), prefixes=[1, 0]) == [("tokens", (4, 6), 1)]
    assert read((1, 24, 192), prefixes=[1, 0], grids=[(24, 1)]) == [("tokens", (24, 1), 0), ("tokens", (4, 6), 0)]
    assert read((1, 30, 384), size=(70, 70), prefixes=[5, 0]) == [("tokens", (5, 5), 5)]  # never 5 by 6
    assert read((1, 1, 192), prefixes=[0, 1]) == []  # a class token is no map
    assert read((1, 24, 192), channels=100) == []
    assert read((1, 192)) == []


@pytest.mark.parametrize(
    "layout, shape",
    [
        (Layout("channels_first", (2, 3)), (2, 5, 2, 3)),
        (Layout("channels_last", (2, 3)), (2, 2, 3, 5)),
        (Layout("tokens", (2, 3)), (2, 6, 5)),
        (Layout("tokens", (2, 3), 4), (2, 10, 5)),
    ],
)
def test_reading_and_writing_are_inverse(layout, shape):
    output = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    maps = layout.spatial(output)
    assert maps.shape == (2, 5, 2, 3)
    assert torch.equal(layout.restore(maps, output), output)
    assert not torch.equal(layout.restore(maps + 1, output), output)


def test_tokens_run_along_rows():
    tokens = torch.arange(7.0).reshape(1, 7, 1)  # a class token, then 2 rows of 3
    assert Layout("tokens", (2, 3), 1).spatial(tokens)[0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_declared_grids_are_those_of_the_patch_embedding_first():
    net = timm.create_model("vit_tiny_patch16_224", img_size=(64, 96), depth=1)
    assert declared_grids(net) == [(4, 6)]
    assert declared_grids(nn.Linear(1, 1)) == []


def patches(images, rows=4, columns=6):
    return nn.functional.adaptive_avg_pool2d(images, (rows, columns))


@pytest.mark.parametrize(
    "change, verdict",
    [
        (lambda maps: maps, "confirmed"),
        (lambda maps: maps + 0.5 * maps.mean(dim=(2, 3), keepdim=True), "confirmed"),
        (lambda maps: maps.transpose(2, 3).reshape(maps.shape), "contradicted"),
        (lambda maps: maps.flip(2), "contradicted"),
        (lambda maps: maps.flip(3), "contradicted"),
        (lambda maps: maps.roll(1, dims=3), "contradicted"),
        (lambda maps: maps.flatten(2).roll(1, dims=2).reshape(maps.shape), "contradicted"),
        (lambda maps: maps.mean(dim=(2, 3), keepdim=True).expand(maps.shape), "undecided"),
        (lambda maps: maps * 0, "undecided"),
    ],
    ids=["in order", "mixed", "turned", "upside down", "mirrored", "rolled", "shifted", "forgotten", "dead"],
)
def test_the_order_of_positions_is_seen(change, verdict):
    image = torch.sin(torch.arange(3 * 64 * 96) * 0.37).reshape(1, 3, 64, 96)
    assert judge(lambda images: change(patches(images)), image, (4, 6)) == verdict


def test_a_token_that_answers_to_everything_does_not_mislead():
    image = torch.sin(torch.arange(3 * 64 * 96) * 0.37).reshape(1, 3, 64, 96)

    def with_outlier(images):
        maps = patches(images).clone()
        maps[:, :, 2, 2] += 1e3 * images.mean(dim=(2, 3))
        return maps

    assert judge(with_outlier, image, (4, 6)) == "confirmed"


class Tokens(nn.Module):
    """Patches as tokens in an order of our choice, averaged, and a linear classifier."""

    def __init__(self, order, prefix=0):
        super().__init__()
        self.order, self.num_prefix_tokens = order, prefix
        self.num_features, self.num_classes = 8, 2
        self.patch = nn.Conv2d(3, 8, 16, 16)
        self.fc = nn.Linear(8, 2)

    def forward_features(self, images):
        tokens = self.patch(images).flatten(2).transpose(1, 2)[:, self.order]
        return torch.cat([tokens[:, :1].expand(-1, self.num_prefix_tokens, -1), tokens], dim=1)

    def forward_head(self, tokens, pre_logits=False):
        features = tokens[:, self.num_prefix_tokens :].mean(dim=1)
        return features if pre_logits else self.fc(features)

    def get_classifier(self):
        return self.fc


def test_tokens_in_the_order_of_the_image_are_a_map_and_others_are_refused():
    raster = torch.arange(24).reshape(4, 6)
    maps = ActivationMaps(wrapped(Tokens(raster.flatten(), prefix=2), (64, 96), 2))
    assert (maps.grid, maps.closed_form) == ((4, 6), True)
    windows = raster.reshape(2, 2, 2, 3).transpose(1, 2).flatten()  # window by window
    with pytest.raises(InputError, match="at its forward_features: its positions do not lie as those of the image"):
        ActivationMaps(wrapped(Tokens(windows), (64, 96), 2))


def test_unrolled_tokens_inside_hiera_are_refused():
    model = model_of("hiera_tiny_224", 64, sized=True)
    assert ActivationMaps(model).layer == "forward_features"
    with pytest.raises(InputError, match=r'hiera_tiny_224 at its layer "blocks\.2": its positions do not lie'):
        ActivationMaps(model, layer="blocks.2")


@pytest.mark.parametrize(
    "layer, reason",
    [
        ("norm", "no class depends on its positions"),
        ("blocks.1.mlp", "no class depends on its positions"),
        ("forward_features", "no class depends on its positions"),
        ("blocks.0.attn.q_norm", "its output is no map"),
        ("fc_norm", "its output is no map"),
        ("blocks.0.attn.norm1", 'no layer "blocks.0.attn.norm1"'),
        ("head", "a forward pass calls it 0 times"),
    ],
)
def test_layers_that_give_no_map_are_refused_by_reason(layer, reason):
    model = model_of("vit_tiny_patch16_224", 64, sized=True, depth=2)
    with pytest.raises(InputError, match=reason):
        ActivationMaps(model, layer=layer)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_an_attention_matrix_is_no_map():
    model = model_of("convit_tiny", 64, sized=True)
    with pytest.raises(InputError, match=r'convit_tiny at its layer "blocks\.9\.attn\.attn_drop"'):
        ActivationMaps(model, layer="blocks.9.attn.attn_drop")


def test_several_outputs_are_refused_by_name():
    with pytest.raises(InputError, match="class-activation maps of coat_tiny at its forward_features: it gives a list"):
        ActivationMaps(model_of("coat_tiny", 64, sized=True))


@pytest.mark.parametrize(
    "name, layer, grid, options",
    [
        ("resnet18", "layer3", (4, 6), {}),
        ("resnet18", "act1", (32, 48), {}),
        ("vit_tiny_patch16_224", "blocks.0", (4, 6), {"sized": True, "depth": 2}),
        ("vit_tiny_patch16_224", "blocks.0.mlp.fc1", (4, 6), {"sized": True, "depth": 2}),
        ("test_mambaout", "stages.2", (4, 6), {}),
    ],
)
def test_a_named_layer_is_taken(name, layer, grid, options):
    model, classes = model_of(name, (64, 96), **options), torch.tensor([2, 0])
    maps, images = ActivationMaps(model, layer=layer), images_for(model)
    assert (maps.layer, maps.grid, maps.closed_form) == (layer, grid, False)
    output, gradient = plain_maps(model, layer, images, lambda logits: logits[torch.arange(2), classes])
    if output.dim() == 3:
        rows = [part[:, 1:].transpose(1, 2).reshape(2, -1, *grid) for part in (output, gradient)]
    else:
        first = output.shape[2:] == grid
        rows = [part if first else part.permute(0, 3, 1, 2) for part in (output, gradient)]
    expected = (rows[0] * rows[1].mean(dim=(2, 3), keepdim=True)).sum(dim=1).relu()
    assert_same_maps(maps(images, Wanted(classes)).maps[0], expected)
