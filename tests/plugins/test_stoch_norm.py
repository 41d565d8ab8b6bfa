"""StochNorm against the equation in NumPy, its two ends, its coins and its gradient."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from transferkit_stoch_norm import stoch_norm
from transferkit_stoch_norm.adapter import StochNorm
from transferkit_stoch_norm.layers import with_coin

from transferkit.data.randomness import seeded
from transferkit.model import save_model
from transferkit.model.adapted import Adapted
from transferkit.model.adapting import put_in
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin, tiny_images, tiny_model


def used(layer):
    """With statistics and weights that are not those of a new layer."""
    with torch.no_grad(), seeded("used"):
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
        layer.weight.uniform_(0.5, 2)
        layer.bias.normal_()
    return layer.double()


def by_numpy(x, coin, layer):
    """x̂ by each channel's coin, then weight and bias."""
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    shape = [1, -1, *[1] * (x.ndim - 2)]
    mean = np.where(coin, x.mean(axes), layer.running_mean.numpy()).reshape(shape)
    var = np.where(coin, x.var(axes), layer.running_var.numpy()).reshape(shape)
    weight, bias = (one.detach().numpy().reshape(shape) for one in (layer.weight, layer.bias))
    return (x - mean) / np.sqrt(var + layer.eps) * weight + bias


LAYERS = {
    "2d": (lambda: nn.BatchNorm2d(40), (6, 40, 3, 4), lambda y: y),
    "1d": (lambda: nn.BatchNorm1d(40), (9, 40), lambda y: y),
    "with activation": (lambda: BatchNormAct2d(40), (6, 40, 3, 4), lambda y: np.maximum(y, 0)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_each_channel_is_normalised_as_its_coin_falls(kind) -> None:
    make, shape, activation = LAYERS[kind]
    plain = used(make())
    layer, before = with_coin(plain, 0.3), copy.deepcopy(plain)
    assert layer.weight is plain.weight and layer.running_mean is plain.running_mean
    x = torch.randn(shape, dtype=torch.double)
    with seeded("coins"):
        coin = torch.rand(40) < 0.3
    with seeded("coins"):
        found = layer.train()(x)
    assert 0 < coin.sum() < 40
    np.testing.assert_allclose(
        found.detach(), activation(by_numpy(x.numpy(), coin.numpy(), before)), rtol=1e-10, atol=1e-12
    )
    before.train()(x)  # the moving statistics are those of plain batch norm
    assert torch.equal(layer.running_mean, before.running_mean) and torch.equal(layer.running_var, before.running_var)
    assert torch.equal(layer.eval()(x), before.eval()(x))
    assert type(layer.merged()) is type(plain) and torch.equal(layer.merged().eval()(x), before(x))


@pytest.mark.parametrize(("p", "plain_mode"), [(1.0, True), (0.0, False)])
def test_the_two_ends_are_batch_norm_in_its_two_modes(p, plain_mode) -> None:
    plain = used(nn.BatchNorm2d(5))
    x = torch.randn(4, 5, 3, 3, dtype=torch.double)
    expected = copy.deepcopy(plain).train(plain_mode)(x)
    assert torch.equal(with_coin(plain, p).train()(x), expected)


def test_how_often_a_channel_takes_the_batchs_statistics() -> None:
    layer = with_coin(used(nn.BatchNorm1d(20_000)), 0.3)
    x = torch.randn(3, 20_000, dtype=torch.double)
    by_batch = copy.deepcopy(used(nn.BatchNorm1d(20_000))).train()(x)
    with seeded("share"):
        share = (layer.train()(x) == by_batch).all(dim=0).double().mean()
    assert float(share) == pytest.approx(0.3, abs=0.02)  # six standard errors


def test_the_gradient_is_numerically_right() -> None:
    """Also of the moving branch, whose statistics the batch branch moves in place."""
    layer = with_coin(used(nn.BatchNorm2d(4)), 0.5).train()

    def once(x):
        with seeded("gradient"):
            return copy.deepcopy(layer)(x)

    assert torch.autograd.gradcheck(once, (torch.randn(3, 4, 2, 2, dtype=torch.double, requires_grad=True),))


def test_the_choice_by_hand() -> None:
    by_batch, by_moving = torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    assert stoch_norm(by_batch, by_moving, torch.tensor([True, False])).flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_035"])
def test_the_saved_model_is_plain_timms(name, tmp_path) -> None:
    model = tiny_model(name=name)
    put_in(model, StochNorm().adapt(model), Adapted("stoch_norm", "transferkit", "0", ()))
    assert not list(model.named_adapter_parameters())
    model.train()(tiny_images(8))
    save_model(tmp_path / "model", model.eval(), None)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    assert torch.equal(model(tiny_images(4)).logits, theirs(tiny_images(4)))


@pytest.mark.parametrize("options", [{}, {"p": 0.0}, {"layers": ["layer1.*"]}])
def test_the_promises_of_a_plugin(options) -> None:
    check_plugin(StochNorm, **options)


def test_options() -> None:
    component = installed().get("adapter", "stoch_norm")
    assert component.create({}) == StochNorm(p=0.5)
    assert component.declared.merges and not component.declared.freezes
