"""LoRA against products of matrices in NumPy, on the networks it is for; what it chooses, trains, and resumes."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from torch import nn
from transferkit_lora import low_rank
from transferkit_lora.adapter import LoRA
from transferkit_lora.layers import with_low_rank

from tests.plugins.two_stage_runs import resumes_exactly, weights
from transferkit.data.randomness import seeded
from transferkit.errors import InputError
from transferkit.model import save_model
from transferkit.model.adapted import Adapted
from transferkit.model.adapting import put_in
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin, tiny_images, tiny_model

NETS = {
    "test_vit": {"img_size": 32},
    "test_convnext": {},
    "test_resnet": {},
    "mobilenetv2_035": {},
}


def adapted(name: str, options: dict | None = None, **lora):
    model = tiny_model(name=name, **(options or {}))
    plugin = LoRA(**lora)
    put_in(model, plugin.adapt(model), Adapted("lora", "transferkit", "0", (), {}, freezes=True))
    return model


def moved(model, amount: float = 0.05):
    """As after training: neither factor is zero."""
    with torch.no_grad(), seeded("lora"):
        for _, parameter in model.named_adapter_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=amount)
    return model.eval()


def test_the_change_by_hand() -> None:
    a, b = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    assert low_rank(a, b, 4.0).tolist() == [[2.0, 4.0], [4.0, 10.0], [0.0, 6.0]]
    assert low_rank(torch.ones(1, 2, 3, 3), torch.ones(5, 1), 2.0).shape == (5, 2, 3, 3)


def test_a_linear_layer_adds_the_product_and_merges_to_it() -> None:
    rng = np.random.default_rng(0)
    plain = nn.Linear(6, 4).double()
    layer = with_low_rank(plain, 3, 6.0)
    assert layer.weight is plain.weight and layer.bias is plain.bias
    x = torch.from_numpy(rng.standard_normal((5, 7, 6)))
    assert torch.equal(layer(x), plain(x))  # B is zero at first
    a, b = rng.standard_normal((3, 6)), rng.standard_normal((4, 3))
    layer.lora_a.data, layer.lora_b.data = torch.from_numpy(a), torch.from_numpy(b)
    weight = plain.weight.detach().numpy() + 6.0 / 3 * b @ a
    expected = x.numpy() @ weight.T + plain.bias.detach().numpy()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-12)
    merged = layer.merged()
    assert type(merged) is nn.Linear and set(merged.state_dict()) == {"weight", "bias"}
    np.testing.assert_allclose(merged.weight.detach().numpy(), weight, rtol=1e-14)
    assert torch.equal(layer.weight, plain.weight)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("keys", [{"stride": 2, "padding": 1}, {"dilation": 2, "padding": "same"},
                                  {"padding": 1, "padding_mode": "reflect"}])  # fmt: skip
def test_a_convolution_is_that_of_the_merged_weight(keys, bias) -> None:
    plain = nn.Conv2d(3, 5, 3, bias=bias, **keys).double()
    layer = with_low_rank(plain, 2, 3.0)
    layer.lora_b.data = torch.randn(5, 2, dtype=torch.double)
    x = torch.randn(2, 3, 9, 9, dtype=torch.double)
    product = np.einsum("or,rikl->oikl", layer.lora_b.detach().numpy(), layer.lora_a.detach().numpy()) * 3.0 / 2
    oracle = nn.Conv2d(3, 5, 3, bias=bias, **keys).double()
    oracle.load_state_dict({**plain.state_dict(), "weight": plain.weight.detach() + torch.from_numpy(product)})
    torch.testing.assert_close(layer(x), oracle(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.merged()(x), oracle(x), rtol=1e-12, atol=1e-12)


def test_gradients_reach_the_factors_alone_and_are_autograds() -> None:
    layer = with_low_rank(nn.Linear(4, 3).double().requires_grad_(False), 2, 4.0)
    layer.lora_b.data.normal_()
    x, a, b = torch.randn(5, 4, dtype=torch.double), layer.lora_a, layer.lora_b
    layer(x).square().sum().backward()
    assert layer.weight.grad is None
    whole = (layer.weight + 2 * b.detach() @ a.detach()).requires_grad_()
    (gradient,) = torch.autograd.grad((x @ whole.T + layer.bias).square().sum(), whole)
    torch.testing.assert_close(a.grad, 2 * b.detach().T @ gradient)  # dL/dA = (alpha / r) Bᵀ dL/dW
    torch.testing.assert_close(b.grad, 2 * gradient @ a.detach().T)


def test_it_begins_as_linear_layers_do() -> None:
    with seeded("begin"):
        layer = with_low_rank(nn.Linear(400, 30), 8, 16.0)
    bound = 1 / math.sqrt(400)
    assert layer.lora_a.abs().max() <= bound and float(layer.lora_a.detach().std()) == pytest.approx(
        bound / math.sqrt(3), rel=0.05
    )
    assert not layer.lora_b.any()


def test_dropout_is_of_the_change_and_of_training_alone() -> None:
    layer = with_low_rank(nn.Linear(50, 3), 2, 4.0, dropout=0.5)
    x = torch.randn(4, 50)
    assert torch.equal(layer.train()(x), torch.nn.functional.linear(x, layer.weight, layer.bias))  # B is zero
    layer.lora_b.data.normal_()
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


@pytest.mark.parametrize("name", NETS)
def test_the_saved_model_is_plain_timms_with_equal_logits(name, tmp_path) -> None:
    images = tiny_images(6)
    plain = tiny_model(name=name, **NETS[name]).eval()
    start = adapted(name, NETS[name])
    torch.testing.assert_close(start.eval()(images).logits, plain(images).logits, rtol=1e-5, atol=1e-6)
    model = moved(start)
    with torch.no_grad():
        ours, before = model(images).logits, plain(images).logits
        save_model(tmp_path / "model", model, None)
        theirs = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()(images)
    scale = float(ours.abs().max())
    assert float((ours - theirs).abs().max()) < 2e-6 * scale
    assert set(theirs.shape) == {6, 3}
    if name not in ("test_convnext",):  # whose layer scale of 1e-6 lets next to nothing through while untrained
        assert float((ours - before).abs().max()) > 1e-2 * scale


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        (
            "test_vit",
            {f"blocks.{i}.{part}" for i in range(6) for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")},
        ),
        ("test_resnet", None),
        ("mobilenetv2_035", None),
    ],
)
def test_which_layers_it_takes_without_being_told(name, chosen) -> None:
    model = adapted(name, NETS[name])
    layers = set(model.adapters[0].layers)
    if chosen is not None:
        assert layers == chosen
    else:
        named = dict(tiny_model(name=name, **NETS[name]).net.named_modules())
        convolutions = {key for key, one in named.items() if isinstance(one, nn.Conv2d)}
        left = {key for key in convolutions if named[key].groups > 1 or named[key].in_channels == 3}
        assert layers == convolutions - left and left


def test_patterns() -> None:
    model = adapted("test_vit", NETS["test_vit"], layers=["blocks.0.*.qkv", "blocks.5.mlp.*"], rank=3)
    assert set(model.adapters[0].layers) == {"blocks.0.attn.qkv", "blocks.5.mlp.fc1", "blocks.5.mlp.fc2"}
    assert model.net.blocks[0].attn.qkv.lora_a.shape == (3, 64)
    names = {name for name, _ in model.named_adapter_parameters()}
    assert names == {f"{layer}.lora_{part}" for layer in model.adapters[0].layers for part in "ab"}
    assert not names & {name for name, _ in model.named_backbone_parameters()}
    with pytest.raises(InputError, match="matches no Conv2d or Linear layer") as caught:
        LoRA(layers=["blocks.0.atn.qkv"]).adapt(tiny_model(name="test_vit", img_size=32))
    assert 'did you mean "blocks.0.attn.qkv"?' in str(caught.value)
    with pytest.raises(InputError, match="is a grouped convolution"):
        LoRA(layers=["*conv_dw"]).adapt(tiny_model(name="mobilenetv2_035"))


@pytest.mark.parametrize("options", [{}, {"rank": 1, "alpha": 1.0}, {"dropout": 0.3, "layers": ["layer1.*"]}])
def test_the_promises_of_a_plugin(options) -> None:
    check_plugin(LoRA, **options)


def test_options() -> None:
    component = installed().get("adapter", "lora")
    assert component.create({"rank": 4}) == LoRA(rank=4)
    assert component.declared.freezes and component.declared.merges
    for wrong in ({"rank": 0}, {"alpha": 0}, {"dropout": 1}, {"layers": []}, {"r": 2}):
        with pytest.raises(ValidationError):
            component.create(wrong)


def test_it_resumes_exactly_and_changes_what_it_says(tmp_path, monkeypatch) -> None:
    done = resumes_exactly(tmp_path, monkeypatch, adapters=[{"use": "lora", "rank": 2}])
    before, after = weights(done.whole.run_dir, "source"), weights(done.whole.run_dir)
    for name in before:
        ranks = torch.linalg.matrix_rank((after[name] - before[name]).double(), rtol=1e-4) if name.endswith("t") else 0
        if not name.startswith("head"):
            assert (ranks == 2) == name.endswith("weight"), name


@pytest.mark.parametrize("package", ["lora", "stoch_norm"])
def test_reading_its_options_does_not_import_torch(package) -> None:
    code = f"import sys\nfrom transferkit.plugins.registry import installed\nimport transferkit_{package}.adapter\n"
    code += f"installed().get('adapter', {package!r}).options.model_json_schema()\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
