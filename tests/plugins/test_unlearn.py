"""Unlearning: the end of networks, class means made equal behind the non-linearity, heads that answer as before."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transferkit_unlearn import matched, same_answers, tail_of
from transferkit_unlearn.edit import Unlearn
from transferkit_unlearn.layer import Layer, unlearnt

from transferkit.analysis import leace
from transferkit.errors import InputError
from transferkit.testing import check_plugin, tiny_images, tiny_model


def on_its_input(model, images):
    """The tail of a model, and what its block gets of these images: recorded in the model itself."""
    tail, kept = tail_of(model, images[:1]), []
    block = dict(model.net.named_modules())[tail.block_name]
    hook = block.register_forward_pre_hook(lambda module, given: kept.append(given[0].clone()))
    with torch.no_grad():
        features = model.eval()(images).features
    hook.remove()
    return tail, kept[0], features


NETS = ["test_resnet", "test_efficientnet", "transferkit_resnet20"]


@pytest.mark.parametrize("name", NETS)
def test_the_end_of_a_network_gives_its_features(name):
    tail, given, features = on_its_input(tiny_model(name=name), tiny_images(6))
    torch.testing.assert_close(tail.features(given), features, rtol=1e-5, atol=1e-6)
    assert len(tail.layer.weight) == features.shape[1]


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_networks_that_end_otherwise_are_refused(name):
    with pytest.raises(InputError, match="use leace"):
        tail_of(tiny_model(name=name), tiny_images(1))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("classes", [1, 2])
def test_class_means_become_equal_in_the_edited_model(name, classes):
    """The values are put into the plain model, and its own features are looked at."""
    images, model = tiny_images(24), tiny_model(name=name).eval()
    labels = torch.arange(24) % 4
    images[labels == 0] += 0.7
    images[labels == 1, 0] -= 0.9
    concepts = torch.stack([labels == i for i in range(classes)], dim=1).double()
    tail, given, before = on_its_input(model, images)
    values = unlearnt(tail, given, concepts, 1.0)
    assert values.keys() <= model.net.state_dict().keys() and len(values) == 2
    model.net.load_state_dict(model.net.state_dict() | values)
    with torch.no_grad():
        after = model(images).features
    rest = ~concepts.any(dim=1)
    for one in concepts.bool().T:
        was = (before[one].mean(0) - before[rest].mean(0)).abs().max()
        now = (after[one].mean(0) - after[rest].mean(0)).abs()
        assert float(now.quantile(0.9)) < 0.01 * float(was), (float(now.max()), float(was))


def test_matching_by_hand():
    """relu(a + t·u) of two images: the class has u = 1, the rest 0; means agree where a + t is the rest's."""
    plain, u = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([1.0, 0.0])
    concepts = torch.tensor([[1.0], [0.0]])
    found = matched(lambda t: (plain.double() + u[:, None] * t[:, 0]).relu(), concepts, 2)
    torch.testing.assert_close(found[:, 0], torch.tensor([-2.0, 1.0], dtype=torch.float64))
    alike = matched(lambda t: torch.ones(2, 2) + 0 * t.T, concepts, 2)
    assert torch.equal(alike, torch.zeros(2, 1, dtype=torch.float64))  # nothing to do


def test_the_direction_is_that_of_leace():
    """One more for a class than for the rest in the layer's pooled input, along W⁺ P W."""
    images, labels = tiny_images(20), torch.arange(20) % 2
    concepts = (labels == 1).double()[:, None]
    tail, given, _ = on_its_input(tiny_model(), images + 0.5 * labels[:, None, None, None])
    layer, pooled = Layer(tail, given, concepts, 0.3), []
    hook = tail.layer.register_forward_hook(lambda module, inputs, output: pooled.append(inputs[0].mean((2, 3))))
    tail.features(given)
    hook.remove()
    x = pooled[0].double()
    assert float(layer.filters[0] @ (x[labels == 1].mean(0) - x[labels == 0].mean(0))) == pytest.approx(1)
    erase, apart = leace(x, concepts, 0.3), x[labels == 1].mean(0) - x[labels == 0].mean(0)
    moved = torch.outer(apart, layer.filters[0] @ x.T)
    torch.testing.assert_close(erase.out @ (erase.inn @ x.T), moved, rtol=1e-6, atol=1e-8)


def test_a_refitted_head_is_the_ridge_regression():
    rng = np.random.default_rng(0)
    old, weight, bias = rng.normal(size=(30, 5)), rng.normal(size=(2, 5)), rng.normal(size=2)
    new = old + 0.3 * rng.normal(size=old.shape)
    found = same_answers(*(torch.from_numpy(one) for one in (weight, bias, old, new)), ridge=0.2)
    centred = new - new.mean(0)
    strength = 0.2 * centred.var(0).mean()
    stacked = np.r_[centred / np.sqrt(30), np.sqrt(strength) * np.eye(5)]
    wanted = old @ weight.T + bias
    wanted = np.r_[(wanted - wanted.mean(0)) / np.sqrt(30), np.sqrt(strength) * weight.T]
    expected = np.linalg.lstsq(stacked, wanted, rcond=None)[0].T
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-9)
    answers = new @ found[0].numpy().T + found[1].numpy()
    np.testing.assert_allclose(answers.mean(0), (old @ weight.T + bias).mean(0), atol=1e-9)
    same = same_answers(*(torch.from_numpy(one) for one in (weight, bias, old, old)))
    np.testing.assert_allclose(same[0].numpy(), weight, atol=1e-9)


def test_the_model_is_left_alone():
    model = tiny_model().eval()
    before = copy.deepcopy(model.net.state_dict())
    tail_of(model, tiny_images(1))
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
    assert not any(module._forward_hooks for module in model.net.modules())


@pytest.mark.parametrize("refit", [True, False])
def test_the_promises_of_a_plugin(refit):
    check_plugin(Unlearn, classes=["cat"], dataset="tiny", refit=refit)
