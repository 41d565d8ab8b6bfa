"""What trains and in which mode, for every way of freezing."""

from __future__ import annotations

import pytest
import torch

from transferkit.errors import InputError
from transferkit.model import build
from transferkit.model.freezing import Freezing, layer_groups
from transferkit.recipe.schema import Model, Stage


def make(name="test_resnet"):
    torch.manual_seed(0)
    spec = Model(name=name, preprocessing={"input_size": 32})
    return build(spec, weights="scratch", source_classes=None, classes=["a", "b"])[0]


@pytest.fixture
def model():
    return make()


def stage(**options) -> Stage:
    return Stage(name="target", dataset="d", epochs=10, **options)


def training(model) -> set[str]:
    return {name for name, parameter in model.net.named_parameters() if parameter.requires_grad}


def step(model) -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(images).logits.square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def changed(model, freezing) -> set[str]:
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    freezing.apply(model, 0)
    freezing.train_mode(model)
    step(model)
    step(model)  # residual branches start at zero, so their inside moves only now
    return {name for name, tensor in model.net.state_dict().items() if not torch.equal(before[name], tensor)}


def test_by_default_everything_trains(model):
    freezing = Freezing.from_stage(model, stage())
    assert not freezing.apply(model, 0)
    assert changed(model, freezing) >= {name for name, _ in model.net.named_parameters()}


def test_frozen_layers_keep_weights_and_statistics(model):
    freezing = Freezing.from_stage(model, stage(freeze=["conv1.*", "bn1.*", "layer[12].*"]))
    assert freezing.apply(model, 0)
    assert not freezing.apply(model, 1)
    moved = changed(model, freezing)
    assert not any(name.startswith(("conv1", "bn1", "layer1", "layer2")) for name in moved)
    assert {"layer3.0.bn1.running_mean", "layer4.0.conv1.weight", "fc.weight"} <= moved


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [("layer1", 'did you mean "layer1.*"'), ("layr1.*", 'did you mean "layer1.*"'), ("fc.weigth", '"fc.weight"')],
)
def test_a_pattern_that_matches_nothing_gets_a_suggestion(model, pattern, hint):
    with pytest.raises(InputError) as caught:
        Freezing.from_stage(model, stage(freeze=["fc.bias", pattern, "also_wrong"]))
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0].where == "stages.target.freeze"
    assert f'"{pattern}" matches no parameter of test_resnet' in str(caught.value)
    assert hint in str(caught.value)


def test_freezing_everything_is_refused(model):
    with pytest.raises(InputError, match="freezes everything that would train"):
        Freezing.from_stage(model, stage(freeze=["*"]))
    with pytest.raises(InputError, match="freezes everything that would train"):
        Freezing.from_stage(model, stage(freeze=["fc.*"], fixed_features=True))


def test_fixed_features_move_nothing_but_the_head(model):
    freezing = Freezing.from_stage(model, stage(fixed_features=True))
    assert changed(model, freezing) <= {"fc.weight", "fc.bias"}
    assert training(model) == {"fc.weight", "fc.bias"}
    assert model.training
    assert model.head.training
    assert not any(part.training for part in model.net.modules() if part is not model.head)


def test_fixed_features_and_unfreezing_contradict(model):
    with pytest.raises(InputError, match="contradict"):
        Freezing.from_stage(model, stage(fixed_features=True, unfreeze={}))


@pytest.mark.parametrize(
    "name",
    ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "mixer_s32_224", "vgg11", "densenet121",
     "regnetx_002", "xcit_nano_12_p16_224", "mobilenetv3_small_050"],
)  # fmt: skip
def test_groups_partition_the_parameters_from_bottom_to_top(name):
    if name == "vgg11":
        spec = Model(name=name, options={"mlp_ratio": 0.01}, preprocessing={"input_size": 32})
        model = build(spec, weights="scratch", source_classes=None, classes=["a", "b"])[0]
    else:
        model = make(name)
    groups = layer_groups(model)
    flat = [parameter for group in groups for parameter in group]
    assert sorted(flat) == sorted(name for name, _ in model.net.named_parameters())
    assert groups[-1] == [name for name, _ in model.named_head_parameters()]
    assert next(model.net.named_parameters())[0] in groups[0]
    assert len(groups) >= 3


def test_a_family_without_layer_order_is_refused():
    with pytest.raises(InputError, match="timm does not order the layers of poolformerv2_s12"):
        layer_groups(make("poolformerv2_s12"))


def test_groups_of_a_residual_network(model):
    assert [group[0].split(".")[0] for group in layer_groups(model)] == [
        "conv1", "layer1", "layer2", "layer3", "layer4", "fc",
    ]  # fmt: skip


def test_gradual_unfreezing_opens_from_the_top(model):
    freezing = Freezing.from_stage(model, stage(unfreeze={"every": 2, "groups": 1}))
    assert freezing.apply(model, 0)
    assert training(model) == {"fc.weight", "fc.bias"}
    assert not freezing.apply(model, 1)
    assert freezing.apply(model, 2)
    assert {name.split(".")[0] for name in training(model)} == {"layer4", "fc"}
    assert freezing.apply(model, 10)
    assert training(model) == {name for name, _ in model.net.named_parameters()}
    assert [freezing.open_count(epoch) for epoch in (0, 1, 2, 3, 4, 9, 10, 99)] == [1, 1, 2, 2, 3, 5, 6, 6]


def test_gradual_unfreezing_is_a_function_of_the_epoch(model):
    freezing = Freezing.from_stage(model, stage(unfreeze={"every": 1, "groups": 2}))
    freezing.apply(model, 5)
    freezing.apply(model, 1)
    assert {name.split(".")[0] for name in training(model)} == {"layer3", "layer4", "fc"}


def test_unfreezing_never_opens_what_a_pattern_froze(model):
    freezing = Freezing.from_stage(model, stage(unfreeze={}, freeze=["layer4.*", "conv1.*"]))
    freezing.apply(model, 99)
    assert not any(name.startswith(("layer4", "conv1")) for name in training(model))


def test_closed_groups_keep_their_statistics(model):
    freezing = Freezing.from_stage(model, stage(unfreeze={}))
    assert changed(model, freezing) <= {"fc.weight", "fc.bias"}


def test_batchnorm_in_eval_mode_trains_its_weights_but_not_its_statistics(model):
    moved = changed(model, Freezing.from_stage(model, stage(batchnorm="eval")))
    assert not any("running" in name for name in moved)
    assert "layer1.0.bn1.weight" in moved
    assert model.net.layer1.training


def test_train_mode_undoes_an_earlier_freeze(model):
    Freezing(fixed_features=True).train_mode(model)
    Freezing().train_mode(model)
    assert all(part.training for part in model.modules())


def test_further_heads_are_left_alone(model):
    model.add_head("source", 4)
    freezing = Freezing.from_stage(model, stage(fixed_features=True))
    freezing.apply(model, 0)
    freezing.train_mode(model)
    assert all(parameter.requires_grad for parameter in model.heads.parameters())
    assert model.heads.training


def test_a_broad_pattern_does_not_freeze_the_head_by_the_way(model):
    head = [name for name, _ in model.named_head_parameters()]
    with pytest.raises(InputError, match=r'"\*\.weight" also freezes the head \(fc\.weight\)') as caught:
        Freezing.from_stage(model, stage(freeze=["*.weight"]))
    instead = caught.value.problems[0].hint.partition("[")[2].partition("]")[0].split(", ")
    freezing = Freezing.from_stage(model, stage(freeze=instead))
    weights = {name for name, _ in model.net.named_parameters() if name.endswith(".weight")}
    assert freezing.frozen == weights - set(head)
    assert Freezing.from_stage(model, stage(freeze=["*.weight", "fc.weight"])).frozen == weights
    assert Freezing.from_stage(model, stage(freeze=["fc.*"])).frozen == set(head)
