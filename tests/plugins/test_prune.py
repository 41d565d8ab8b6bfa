"""Magnitude pruning: by hand, against a sort, and through whole stages."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from transferkit_prune import prunable, smallest_out
from transferkit_prune.pruning import Prune

from tests.plugins.two_stage_runs import recipe, records, resumes_exactly, run, weights, write
from transferkit.errors import InputError
from transferkit.model import Preprocessing, TransferModel
from transferkit.plugins.registry import installed
from transferkit.recipe import load_recipe
from transferkit.testing import check_plugin, tiny_images, tiny_model


class Net(nn.Module):
    """Two layers with hand-set weights, a norm, a shared layer, and a head that timm would find."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, (1, 2))
        self.norm = nn.LayerNorm(2)
        self.second = nn.Linear(2, 2)
        self.again = nn.Linear(2, 2)
        self.again.weight = self.second.weight
        self.fc = nn.Linear(2, 3)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([1.0, -2.0, 3.0, -4.0]).view(2, 1, 1, 2))
            self.second.weight.copy_(torch.tensor([[0.1, -0.2], [5.0, -6.0]]))

    def get_classifier(self) -> nn.Module:
        return self.fc


@pytest.fixture
def model() -> TransferModel:
    preprocessing = Preprocessing((2, 2), (0.5,) * 3, (0.5,) * 3, 1.0, "center", "bilinear")
    return TransferModel(Net(), classes=["a", "b", "c"], preprocessing=preprocessing, architecture="none")


def pruned(model: TransferModel, **options) -> Prune:
    """The plugin, after it has been asked before training and the model given what it said."""
    plugin = Prune(**options)
    put(model, plugin, 0)
    return plugin


def put(model: TransferModel, plugin: Prune, step: int) -> None:
    named = {name: weight.detach() for name, weight in model.named_weights().items()}
    for name, value in plugin.project(named, model, step).items():
        named[name].copy_(value)


def test_what_can_be_pruned(model) -> None:
    assert list(prunable(model)) == ["first.weight", "second.weight"]  # the shared weight once, the head never


def test_global_by_hand(model) -> None:
    pruning = pruned(model, amount=0.5)
    assert model.net.first.weight.flatten().tolist() == [0, 0, 3, -4]
    assert model.net.second.weight.tolist() == [[0, 0], [5, -6]]
    assert pruning.epoch_end() == {"sparsity": 0.5, "lowest": 0.5, "highest": 0.5}


def test_the_scopes_differ(model) -> None:
    pruning = pruned(model, amount=0.25)
    assert model.net.first.weight.flatten().tolist() == [1, -2, 3, -4]
    assert model.net.second.weight.tolist() == [[0, 0], [5, -6]]
    assert pruning.epoch_end() == {"sparsity": 0.25, "lowest": 0.0, "highest": 0.5}


def test_per_layer_by_hand(model) -> None:
    pruned(model, amount=0.25, scope="layer")
    assert model.net.first.weight.flatten().tolist() == [0, -2, 3, -4]
    torch.testing.assert_close(model.net.second.weight, torch.tensor([[0, -0.2], [5, -6]]))


def test_the_rest_stays_and_nothing_is_added_to_the_model(model) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pruned(model, amount=0.5)
    assert list(model.state_dict()) == list(before)
    for name, value in model.state_dict().items():
        if name.split(".")[1] in ("norm", "fc") or name.endswith("bias"):
            assert torch.equal(value, before[name]), name
    assert not model.net.first._forward_pre_hooks


def test_keep_after_an_optimizer_step(model) -> None:
    pruning = pruned(model, amount=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert model.net.first.weight.flatten().tolist() == pytest.approx([-0.1, -0.1, 2.9, -4.1])
    put(model, pruning, 1)
    assert model.net.first.weight.flatten().tolist() == pytest.approx([0, 0, 2.9, -4.1])


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("amount", [0.01, 0.37, 0.9])
def test_a_real_network_against_a_sort(scope, amount) -> None:
    model = tiny_model()
    layers = {name: weight.detach().clone() for name, weight in prunable(model).items()}
    pruned(model, amount=amount, scope=scope)
    after = dict(model.net.named_parameters())
    groups = [list(layers)] if scope == "global" else [[name] for name in layers]
    for names in groups:
        magnitudes = torch.cat([layers[name].abs().flatten() for name in names])
        count = round(amount * len(magnitudes))
        assert sum(int((after[name] == 0).sum()) for name in names) == count
        if count:
            threshold = magnitudes.sort().values[count - 1]
            for name in names:
                expected = torch.where(layers[name].abs() > threshold, layers[name], 0.0)
                assert torch.equal(after[name], expected)
    assert model(tiny_images(2)).logits.isfinite().all()


def test_equal_magnitudes_give_the_asked_share() -> None:
    first, again = (smallest_out([nn.Parameter(torch.ones(10, 10))], 0.3) for _ in range(2))
    assert int((first[0] == 0).sum()) == 30 and torch.equal(first[0], again[0])


def test_a_backbone_without_such_layers_is_refused(model) -> None:
    for name in ("first", "second", "again"):
        setattr(model.net, name, nn.Identity())
    with pytest.raises(InputError, match="no convolution or linear layer"):
        pruned(model, amount=0.5)


def zeros(run_dir) -> float:
    """The share of zeros among the weights of the hidden layers."""
    found = [value for name, value in weights(run_dir).items() if name.startswith("layers") and value.ndim == 2]
    return sum(int((value == 0).sum()) for value in found) / sum(value.numel() for value in found)


@pytest.mark.parametrize("extra", [{}, {"ema": {"decay": 0.5}, "optimizer": {"name": "adamw", "lr": 0.01}}])
def test_a_saved_model_has_exactly_that_share_of_zeros(tmp_path, extra) -> None:
    regularizers = [{"use": "l2_sp", "weight": {"backbone": 0.1, "head": 0.1}}]  # pulls pruned weights back
    result = run(tmp_path, recipe(regularizers=[{"use": "prune", "amount": 0.6}, *regularizers], **extra))
    size = 256 * 12 + 12 * 10
    assert zeros(result.run_dir) == round(0.6 * size) / size
    said = result.stages["target"]["plugins"]["prune"]
    assert said["sparsity"] == round(0.6 * size) / size and said["lowest"] < said["sparsity"] < said["highest"]
    assert records(result.run_dir)[-1]["plugins"]["prune"] == said


def test_it_resumes_exactly(tmp_path, monkeypatch) -> None:
    done = resumes_exactly(tmp_path, monkeypatch, regularizers=[{"use": "prune", "amount": 0.3, "scope": "layer"}])
    assert zeros(done.resumed.run_dir) == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("options", [{"amount": 0.5}, {"amount": 0.1, "scope": "layer"}])
def test_the_promises_of_a_plugin(options) -> None:
    check_plugin(Prune, **options)


@pytest.mark.parametrize("options", [{}, {"amount": 0.0}, {"amount": 1.0}, {"amount": 0.5, "scope": "all"}])
def test_options(options) -> None:
    with pytest.raises(ValidationError):
        installed().get("regularizer", "prune").create(options)


def test_the_key_that_it_was_is_told(tmp_path) -> None:
    sentence = "prune is a plugin now: regularizers: .{use: prune, amount: "
    with pytest.raises(InputError, match=sentence):
        load_recipe(write(tmp_path, recipe(prune={"amount": 0.5})))
    with pytest.raises(InputError, match=sentence):
        load_recipe(write(tmp_path, recipe()), ["stages.target.prune.amount=0.5"])
