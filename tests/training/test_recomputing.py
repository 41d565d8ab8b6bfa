"""gradient_checkpointing: less is kept for the backward pass, and nothing else differs by a bit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from tests.stopping import stopped_at
from tests.training.conftest import offer
from tests.training.test_loop import records, same, weights, without_time
from transferkit.api import resume
from transferkit.errors import InputError
from transferkit.recipe import load_recipe
from transferkit.testing import tiny_model
from transferkit.training.recomputing import recompute, recomputing


@dataclass
class Quiet:
    """Small activations inside a block that is computed twice."""

    layer: str = "layer2"

    def taps(self, model):
        return [self.layer]

    def penalty(self, taps):
        return taps[self.layer].square().mean()


DROPPING = {"model": {"name": "test_resnet", "preprocessing": {"input_size": 32},
                      "options": {"drop_path_rate": 0.3, "drop_rate": 0.2}}}  # fmt: skip


def model(name="test_resnet"):
    torch.manual_seed(0)
    return tiny_model(["a", "b", "c"], name=name)


@pytest.mark.parametrize("more", [
    {"regularizers": [{"use": "quiet", "weight": 0.1}]},
    {"adapters": [{"use": "lora", "rank": 2, "layers": ["layer*.conv*"]}], "accumulate": 2},
    {"compile": True, "epochs": 1},
], ids=["taps", "adapters", "compile"])  # fmt: skip
def test_weights_statistics_and_records_are_those_without_it(run, registry, monkeypatch, more):
    offer(registry, "regularizer", "quiet", Quiet)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net: compiled(net, backend="aot_eager"))
    plain, spared = (run(top=DROPPING, gradient_checkpointing=on, **more) for on in (False, True))
    assert same(weights(plain.run_dir), weights(spared.run_dir))  # running statistics are among them
    assert without_time(records(plain.run_dir)) == without_time(records(spared.run_dir))


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(run, registry, monkeypatch):
    keys = {"gradient_checkpointing": True, "regularizers": [{"use": "activation_l1", "weight": 0.1, "tap": "layer2"}]}
    whole = run(top=DROPPING, **keys)
    with stopped_at(5):
        run(top=DROPPING, **keys)
    stopped = max(whole.run_dir.parent.iterdir(), key=lambda folder: folder.stat().st_ctime)
    assert stopped != whole.run_dir
    assert same(weights(resume(stopped, quiet=True).run_dir), weights(whole.run_dir))


def kept_bytes(net, images):
    """What autograd keeps for one backward pass, each storage once; and the gradients."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = net(images).logits.square().sum()
    held = sum(size for place, size in kept.items() if place not in own)
    with recomputing(net, True):
        loss.backward()
    return held, {name: parameter.grad.clone() for name, parameter in net.named_parameters()}


@pytest.mark.parametrize(("name", "share"), [("test_resnet", 0.8), ("test_vit", 0.3)])
def test_less_is_kept_and_the_gradients_are_the_same(name, share):
    images = torch.randn(4, 3, 64, 64)
    plain, spared = model(name).train(), model(name).train()
    recompute(spared, name)
    before, expected = kept_bytes(plain, images)
    after, found = kept_bytes(spared, images)
    assert after < share * before, (before, after)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert all(torch.equal(one, spared.state_dict()[key]) for key, one in plain.state_dict().items())


def test_without_care_batch_norm_would_count_a_batch_twice():
    """What the care is for: PyTorch's own behaviour, which may change one day."""
    net = model().train()
    recompute(net, "test_resnet")
    net(torch.randn(4, 3, 64, 64)).logits.sum().backward()
    counted = {name: int(one) for name, one in net.state_dict().items() if name.endswith("num_batches_tracked")}
    assert max(counted.values()) == 2


def test_taps_keep_nothing_of_the_second_pass():
    net = model().train()
    net.tap(["layer2"])
    recompute(net, "test_resnet")
    output = net(torch.randn(4, 3, 64, 64))
    with recomputing(net, True):
        (output.logits.sum() + output.taps["layer2"].sum()).backward()
    assert not net._store
    assert "layer2" in net(torch.randn(2, 3, 64, 64)).taps


@pytest.mark.parametrize("name", ["convit_tiny", "transferkit_small_cnn"])
def test_families_without_it_are_named(name):
    with pytest.raises(InputError, match=rf"gradient_checkpointing: timm offers none for {name}; .* accumulate"):
        recompute(model(name), name)


def test_with_fixed_features_it_is_refused(recipe_file, registry):
    with pytest.raises(InputError, match=r"tiny\.yaml:\d+:\d+  .*gradient_checkpointing: does nothing with fixed_"):
        load_recipe(
            recipe_file(fixed_features=True, start="pretrained", gradient_checkpointing=True), registry=registry
        )
