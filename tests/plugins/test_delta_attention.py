"""Channel attention: the loss without each channel, by brute force and by reuse, bit for bit the same."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from transferkit_delta.attention import channel_attention_raw
from transferkit_delta.forward import Suffix
from transferkit_delta.record import record

from transferkit.model import Reading


class Residual(nn.Module):
    """A block with everything that makes reuse hard: in-place steps, views, a shared module, a skip."""

    def __init__(self, width, act):
        super().__init__()
        self.act = act
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.same = nn.Identity()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        out = self.same(self.bn(self.conv1(self.act(x))))
        out = self.conv2(self.act(out))
        out += x
        return out


class Small(nn.Module):
    """Two residual blocks that share one in-place ELU, with an auxiliary pair of outputs."""

    def __init__(self):
        super().__init__()
        self.act = nn.ELU(inplace=True)  # twice is not the same as once
        self.stem = nn.Conv2d(3, 6, 3)
        self.blocks = nn.Sequential(Residual(6, self.act), Residual(6, self.act))
        self.pair = Pair()
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        early = self.stem(x)
        late, again = self.pair(self.blocks(early))
        late = late.add_(early)
        return self.head(self.act(late + again).mean(dim=(2, 3)))


class Pair(nn.Module):
    """A module with two outputs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        return self.conv(x), x.sigmoid()


def batches(count=2, size=4, pixels=12, classes=4):
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 3, pixels, pixels, generator=draw), torch.randint(classes, (size,), generator=draw))
        for _ in range(count)
    ]


def seeded(build):
    torch.manual_seed(0)
    model = build().eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # timm starts residual branches at zero: nothing would flow through them
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def brute_force(forward, layer, axis, data):
    """The definition, with a hook that zeroes a channel of what the layer returns."""
    increases = []
    for images, labels in data:
        shapes = []
        handle = layer.register_forward_hook(lambda m, i, o, s=shapes: s.append(o.shape))
        base = F.cross_entropy(forward(images), labels)
        handle.remove()
        row = []
        for channel in range(shapes[0][axis]):

            def zero(module, inputs, output, channel=channel):
                mask = torch.ones(output.shape[axis])
                mask[channel] = 0
                return output * mask.reshape([-1 if a == axis else 1 for a in range(output.ndim)])

            handle = layer.register_forward_hook(zero)
            row.append(F.cross_entropy(forward(images), labels) - base)
            handle.remove()
        increases.append(torch.stack(row))
    return torch.stack(increases).mean(dim=0)


SMALL_LAYERS = ["stem", "blocks.0", "blocks.0.bn", "blocks.1.conv1", "blocks.1.same", "blocks.1", "act", "pair.conv"]


@pytest.mark.parametrize("layer", SMALL_LAYERS)
@torch.no_grad()
def test_reuse_equals_whole_forward_passes_bit_for_bit(layer):
    model = seeded(Small)
    warnings = []
    data = batches()
    raw = channel_attention_raw(model, model, {layer: Reading(6, (8, 8))}, data, warn=warnings.append)[layer]
    whole = channel_attention_raw(model, model, {layer: Reading(6, (8, 8))}, data, reuse=False)[layer]
    assert torch.equal(raw, whole) and warnings == []
    assert torch.equal(raw, brute_force(model, model.get_submodule(layer), 1, data))
    assert raw.shape == (6,) and raw.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("test_resnet", {"layer1": 32, "layer2.0.conv2": None, "layer4": 96}),
        ("test_vit", {"blocks.1": 64, "blocks.5": 64}),
        ("test_convnext", {"stages.1": None, "stages.3": None}),
    ],
)
@torch.no_grad()
def test_timm_models(name, layers):
    model = seeded(
        lambda: (
            timm.create_model(name, num_classes=5, img_size=64)
            if "vit" in name
            else timm.create_model(name, num_classes=5)
        )
    )
    data = batches(1, 2, 64, 5)
    readings = {layer: Reading(width, (64, 64)) for layer, width in layers.items()}
    raw = channel_attention_raw(model, model, readings, data)
    axis = 2 if "vit" in name else 1
    for layer in layers:
        assert torch.equal(raw[layer], brute_force(model, model.get_submodule(layer), axis, data)), layer


@torch.no_grad()
def test_channels_last_maps_are_found_by_their_width():
    model = seeded(
        lambda: timm.create_model(
            "swin_tiny_patch4_window7_224",
            img_size=64,
            window_size=2,
            depths=(1, 1),
            embed_dim=8,
            num_heads=(1, 1),
            num_classes=3,
        )
    )
    data = batches(1, 2, 64, 3)
    raw = channel_attention_raw(model, model, {"layers.1": Reading(16, (8, 8))}, data)["layers.1"]
    assert torch.equal(raw, brute_force(model, model.layers[1], 3, data))


@torch.no_grad()
def test_what_comes_before_the_layer_is_not_computed_again():
    model = seeded(Small)
    counts = {"stem": 0, "head": 0}
    for name in counts:
        inner = model.get_submodule(name).forward

        def counted(x, inner=inner, name=name):
            counts[name] += 1
            return inner(x)

        model.get_submodule(name).forward = counted
    channel_attention_raw(model, model, {"blocks.1": Reading(6, (8, 8))}, batches(3))
    # recorded once; in the check the whole network twice and once to fill; then once for each batch
    assert counts["stem"] == 1 + 3 + 3
    assert counts["head"] == counts["stem"] + 1 + 3 * 6


@torch.no_grad()
def test_the_model_is_left_as_it_was():
    model = seeded(Small)
    model.blocks[0].train()
    modes = {name: module.training for name, module in model.named_modules()}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    channel_attention_raw(model, model, {"blocks.1": Reading(6, (8, 8))}, batches())
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all("forward" not in vars(module) for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


@torch.no_grad()
def test_the_model_is_restored_after_an_error():
    model = seeded(Small)
    bad = [(torch.randn(2, 3, 12, 12), torch.tensor([0, 99]))]
    with pytest.raises(IndexError):
        channel_attention_raw(model, model, {"blocks.1": Reading(6, (8, 8))}, bad)
    assert all("forward" not in vars(module) for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


class Moody(nn.Module):
    """A network whose path depends on the batch: reuse cannot work and must notice."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 1), nn.Conv2d(5, 4, 1)

    def forward(self, x):
        early = (self.a if len(x) > 2 else self.b)(x)
        return self.c(early).mean(dim=(2, 3))


class Stateful(nn.Module):
    """A network that hands a value around its modules' calls: reuse would be wrong and must be found out."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.wrap = Counter()

    def forward(self, x):
        self.wrap.count = 0.0
        x = self.first(x)
        x = self.wrap(x)
        return (self.last(x) * self.wrap.count).mean(dim=(2, 3))


class Counter(nn.Module):
    """Keeps a side effect."""

    count = 0.0

    def forward(self, x):
        self.count += 1.0
        return x + 1.0


@pytest.mark.parametrize(("build", "layer"), [(Moody, "c"), (Stateful, "last")])
@torch.no_grad()
def test_where_reuse_is_wrong_every_pass_is_whole_and_it_is_said(build, layer):
    model = seeded(build)
    warnings = []
    data = batches(2, 4)
    raw = channel_attention_raw(model, model, {layer: Reading(4, (8, 8))}, data, warn=warnings.append)[layer]
    assert torch.equal(raw, brute_force(model, model.get_submodule(layer), 1, data))
    assert len(warnings) == 1 and repr(layer) in warnings[0]


def test_layers_that_cannot_be_measured_are_named():
    model = seeded(Small)
    model.unused = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="Linear that was named as a layer is never called"):
        channel_attention_raw(model, model, {"unused": Reading(2, (8, 8))}, batches(1))
    with pytest.raises(ValueError, match="Pair that was named as a layer does not return one tensor"):
        channel_attention_raw(model, model, {"pair": Reading(2, (8, 8))}, batches(1))


@torch.no_grad()
def test_progress_counts_channels():
    steps = []
    model = seeded(Small)
    layers = dict.fromkeys(["stem", "blocks.1"], Reading(6, (8, 8)))
    channel_attention_raw(model, model, layers, batches(2), advance=steps.append)
    assert sum(steps) == 2 * 12


@torch.no_grad()
def test_a_call_that_overwrites_its_input_is_not_reused():
    model = seeded(Small)
    calls = record(model, model, batches(1)[0][0])[0].calls
    stem, blocks = calls[:2]
    block = blocks.calls[0]
    act, conv1, bn, same, act_again, conv2 = block.calls
    assert not block.reusable  # its first step is an in-place ELU on its input
    assert stem.reusable and stem.changed_later and stem.settled_by is act and act.reusable
    assert bn.changed_later and bn.settled_by is act_again  # the view between them does nothing
    assert not same.reusable and conv1.reusable and conv2.changed_later and conv2.settled_by is None
    assert [call.module for call in Suffix(model, model.blocks[0].same, calls)._copied] == [model.blocks[0].bn]
    assert not Suffix(model, model.blocks[0].conv2, calls)._copied
