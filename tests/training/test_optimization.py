from __future__ import annotations

import math

import pytest
import torch

from transferkit.errors import InputError
from transferkit.model import TransferModel, build
from transferkit.recipe import schema
from transferkit.training.optimization import (
    clip_gradients,
    gradient_size,
    learning_rates,
    make_optimizer,
    make_schedule,
    parameter_groups,
)


@pytest.fixture(scope="module")
def model() -> TransferModel:
    spec = schema.Model(name="test_resnet", preprocessing=schema.Preprocessing(input_size=32))
    return build(spec, weights="scratch", source_classes=None, classes=["a", "b"])[0]


def rates(model: TransferModel, optimizer: schema.Optimizer, schedule: schema.Schedule, per_epoch: int, total: int):
    made = make_optimizer(model, optimizer)
    plan = make_schedule(made, schedule, per_epoch, total)
    found = []
    for step in range(total):
        plan.step_update(step)
        found.append(learning_rates(made))
    return found


def test_the_head_multiplier_takes_effect_from_the_first_step_on(model) -> None:
    found = rates(model, schema.Optimizer(lr=0.01, head_lr_multiplier=10), schema.Schedule(), 5, 10)
    assert found == [(pytest.approx(0.01), pytest.approx(0.1))] * 10


def test_step_schedule_by_hand(model) -> None:
    schedule = schema.Schedule(name="step", every=2, gamma=0.1)
    found = [body for body, _ in rates(model, schema.Optimizer(lr=1.0), schedule, 3, 15)]
    assert found == pytest.approx([1.0] * 6 + [0.1] * 6 + [0.01] * 3)


def test_steps_as_the_unit(model) -> None:
    schedule = schema.Schedule(name="multistep", unit="steps", milestones=[2, 5], gamma=0.5)
    found = [body for body, _ in rates(model, schema.Optimizer(lr=1.0), schedule, 100, 7)]
    assert found == pytest.approx([1, 1, 0.5, 0.5, 0.5, 0.25, 0.25])


def test_cosine_with_warmup_by_hand(model) -> None:
    schedule = schema.Schedule(name="cosine", warmup=1)
    found = [body for body, _ in rates(model, schema.Optimizer(lr=1.0), schedule, 4, 20)]
    assert found[:4] == pytest.approx([0, 0.25, 0.5, 0.75])
    assert found[4:] == pytest.approx([(1 + math.cos(math.pi * t / 20)) / 2 for t in range(4, 20)])


def test_layer_decay_and_head_multiplier_multiply(model) -> None:
    optimizer = make_optimizer(model, schema.Optimizer(lr=1.0, layer_decay=0.5, head_lr_multiplier=4))
    make_schedule(optimizer, schema.Schedule(), 1, 1)
    by_parameter = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(model.net.named_parameters())
    assert by_parameter[id(named["fc.weight"])] == pytest.approx(4.0)
    scales = sorted({rate for rate in by_parameter.values() if rate < 4})
    assert all(abs(math.log2(rate) - round(math.log2(rate))) < 1e-9 for rate in scales)
    assert by_parameter[id(named["conv1.0.weight"])] == min(scales)


def test_every_parameter_is_in_exactly_one_group(model) -> None:
    model_with_more = model
    for options in (schema.Optimizer(), schema.Optimizer(layer_decay=0.9), schema.Optimizer(weight_decay=0.1)):
        seen = [id(p) for group in parameter_groups(model_with_more, options) for p in group["params"]]
        assert sorted(seen) == sorted(id(p) for p in model.parameters())


def test_biases_and_norms_are_not_decayed(model) -> None:
    groups = parameter_groups(model, schema.Optimizer(weight_decay=0.1))
    assert all((p.ndim > 1) == (group["weight_decay"] > 0) for group in groups for p in group["params"])


def test_unknown_names_and_options_are_answered(model) -> None:
    with pytest.raises(InputError, match='did you mean "adamw"'):
        make_optimizer(model, schema.Optimizer(name="adamww"))
    with pytest.raises(InputError, match="refused its options"):
        make_optimizer(model, schema.Optimizer(name="adamw", options={"betass": [0.9, 0.99]}))
    with pytest.raises(InputError, match="refused its options"):
        make_schedule(make_optimizer(model, schema.Optimizer()), schema.Schedule(options={"nope": 1}), 1, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_size_of_gradients_is_finite_where_they_are(layout, value: float) -> None:
    shapes = [(8, 3, 5, 5), (8,), (1,), (), (4, 7)]
    found = [torch.randn(shape) for shape in shapes]
    found[0] = found[0].to(memory_format=layout)
    assert float(gradient_size(found)) == pytest.approx(sum(float(g.square().sum()) for g in found), rel=1e-5)
    for gradient in found:
        for place in {0, gradient.numel() // 2, gradient.numel() - 1}:
            flat = gradient.flatten().clone()
            flat[place] = value
            broken = [flat.view(gradient.shape) if other is gradient else other for other in found]
            assert not gradient_size(broken).isfinite()


def test_clipping_says_how_large_the_gradients_were() -> None:
    for clip in (None, schema.Clip(norm=1.0), schema.Clip(value=1.0), schema.Clip(agc=0.1)):
        weight = torch.nn.Parameter(torch.ones(4))
        weight.grad = torch.tensor([3.0, float("inf"), 0.0, 0.0])
        assert not clip_gradients([weight, torch.nn.Parameter(torch.ones(1))], clip).isfinite(), clip


def test_clipping() -> None:
    def gradient(clip: schema.Clip | None) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.ones(4))
        weight.grad = torch.tensor([3.0, 4.0, 0.0, 0.0])
        clip_gradients([weight], clip)
        return weight.grad

    assert torch.equal(gradient(None), torch.tensor([3.0, 4.0, 0.0, 0.0]))
    torch.testing.assert_close(gradient(schema.Clip(norm=1.0)), torch.tensor([0.6, 0.8, 0, 0]), rtol=1e-5, atol=1e-5)
    assert torch.equal(gradient(schema.Clip(value=1.0)), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert float(gradient(schema.Clip(agc=0.1)).norm()) == pytest.approx(0.2, rel=1e-4)  # 0.1 x the weight's norm 2
