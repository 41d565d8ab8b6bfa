"""Taps deliver what a layer returned, for this forward pass only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from transferkit.errors import InputError
from transferkit.model import build
from transferkit.model.compatibility import probe_batch
from transferkit.model.taps import default_taps, first_tensor
from transferkit.recipe.schema import Model


def test_values_are_those_of_the_layer(small):
    small.eval().tap(["layer2", "layer4"])
    seen = {}
    small.net.layer2.register_forward_hook(lambda module, inputs, output: seen.update(layer2=output.detach().clone()))
    taps = small(probe_batch(small, 2)).taps
    assert list(taps) == ["layer2", "layer4"]
    assert torch.equal(taps["layer2"], seen["layer2"])


def test_an_output_that_is_later_overwritten_is_copied(small):
    small.eval().tap(["bn1"])
    images = probe_batch(small, 2)
    expected = small.net.bn1(small.net.conv1(images))
    assert bool((expected < 0).any())  # the ReLU after it works in place
    assert torch.equal(small(images).taps["bn1"], expected)


def test_gradients_flow_through_taps(small):
    small.train().tap(["layer3"])
    small(probe_batch(small, 2)).taps["layer3"].square().mean().backward()
    assert small.net.conv1[0].weight.grad is not None
    assert small.net.layer4[0].conv1.weight.grad is None


def test_nothing_is_kept_after_the_pass(small):
    small.tap(["layer3"])
    small(probe_batch(small, 2))
    assert small._store == {}


def test_asking_twice_is_harmless_and_adds_up(small):
    small.tap(["layer3"])
    small.tap(["layer3", "layer4"])
    assert small.tap_names == ["layer3", "layer4"]
    assert len(small.net.layer3._forward_hooks) == 1


def test_tapping_leaves_modes_and_statistics_alone(small):
    small.train()
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    small.tap(["layer3"])
    assert all(part.training for part in small.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in small.state_dict().items())


def test_unknown_layers_get_a_suggestion(small):
    with pytest.raises(InputError, match='no layer "layer33" to tap; did you mean "layer3"'):
        small.tap(["layer33"])
    assert small.tap_names == []


def test_a_layer_outside_the_backbone_is_refused(small):
    with pytest.raises(InputError, match='layer "fc" is not part of the backbone'):
        small.tap(["fc"])


def test_flat_families_spread_their_taps():
    spec = Model(name="vit_tiny_patch16_224", preprocessing={"input_size": 32})
    model, _ = build(spec, weights="scratch", source_classes=None, classes=["a", "b"])
    assert model.default_taps() == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]
    assert model.reading("blocks.2").channels == 192
    assert model.reading("norm").channels is None


def test_staged_families_take_the_last_stages(small):
    assert small.default_taps() == ["layer1", "layer2", "layer3", "layer4"]


def test_a_model_that_timm_says_nothing_about_needs_names():
    with pytest.raises(InputError, match="name the layers to tap yourself"):
        default_taps(nn.Linear(2, 2))


def test_the_first_tensor_of_a_structure():
    tensor = torch.zeros(1)
    assert first_tensor((None, tensor)) is tensor
    assert first_tensor({"a": 1, "b": tensor}) is tensor
    with pytest.raises(TypeError, match="without a tensor"):
        first_tensor([1, 2])
