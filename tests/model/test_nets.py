"""Our own architectures: sizes by hand, the papers' arithmetic, and everything that a timm model can be asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from transferkit.analysis.maps import ActivationMaps, Wanted
from transferkit.data.randomness import seeded
from transferkit.data.samples import Samples
from transferkit.data.sources import open_split
from transferkit.data.transforms import transforms
from transferkit.errors import InputError
from transferkit.model import build
from transferkit.model.compatibility import probe_batch
from transferkit.model.folder import save_model
from transferkit.model.freezing import layer_groups
from transferkit.model.nets.cifar_resnet import PaddedShortcut
from transferkit.recipe.schema import Dataset, Model, Optimizer
from transferkit.training.optimization import parameter_groups

CIFAR = [20, 32, 44, 56, 110]
LAYERS = {
    "transferkit_cnn10": 10,
    "transferkit_mlp": 6,
    "transferkit_resnet18": 18 + 3,  # and three 1x1 convolutions in shortcuts, which the name does not count
    **{f"transferkit_resnet{depth}": depth for depth in CIFAR},
    "transferkit_small_cnn": 6,
    "transferkit_vgg19": 17,  # sixteen convolutions, one linear layer instead of three
}
TABLE = {"in_chans": 1, "img_size": [1, 50]}


def model_of(name, classes=("ant", "bee", "owl"), size=None, weights="scratch", **options):
    preprocessing = {} if size is None else {"input_size": size}
    spec = Model(name=f"transferkit_{name}", options=options, preprocessing=preprocessing)
    with seeded("nets", name):
        model, source = build(spec, weights=weights, source_classes=None, classes=list(classes) if classes else None)
    return model.eval(), source


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def conv(inputs, outputs, kernel=3):
    """Without a bias, with batch norm."""
    return inputs * outputs * kernel**2 + 2 * outputs


def linear(inputs, outputs):
    return inputs * outputs + outputs


def chain(*widths):
    return sum(linear(*pair) for pair in pairwise(widths))


# -- sizes ---------------------------------------------------------------------------------------------------


def test_every_net_is_in_timms_registry_and_no_module_hides_one_of_timms():
    assert timm.list_models("transferkit_*") == sorted(LAYERS, key=timm.models._registry._natural_key)
    assert not [name for name in timm.list_models(module="resnet") if name.startswith("transferkit")]


@pytest.mark.parametrize(("name", "layers"), LAYERS.items())
def test_layers_with_weights(name, layers):
    net = timm.create_model(name)
    assert sum(isinstance(part, nn.Conv2d | nn.Linear) for part in net.modules()) == layers
    assert isinstance(net.get_submodule(net.pretrained_cfg["classifier"]), nn.Linear)
    assert net.get_submodule(net.pretrained_cfg["classifier"]) is net.get_classifier()


@pytest.mark.parametrize("depth", CIFAR)
def test_parameters_of_cifar_resnets(depth):
    n = (depth - 2) // 6
    first = [conv(3, 16), 2 * n * conv(16, 16)]
    later = [conv(a, b) + (2 * n - 1) * conv(b, b) for a, b in ((16, 32), (32, 64))]
    assert count(timm.create_model(f"transferkit_resnet{depth}")) == sum(first + later) + linear(64, 10)


def test_parameters_as_published():
    """Millions of He et al. 2016, table 6; ResNet-20 to the last one, with batch norm."""
    sizes = {depth: count(timm.create_model(f"transferkit_resnet{depth}")) for depth in CIFAR}
    assert sizes[20] == 269_722
    assert {depth: round(size / 1e6, 2) for depth, size in sizes.items()} == {
        20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.73,
    }  # fmt: skip


def test_parameters_of_the_other_convolutional_nets():
    blocks = [(3, 64), (64, 64), (64, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
    assert count(timm.create_model("transferkit_cnn10")) == sum(conv(*pair) for pair in blocks) + linear(256, 10)
    maps = sum(9 * a * b + b for a, b in ((3, 32), (32, 64), (64, 128)))
    assert count(timm.create_model("transferkit_small_cnn", num_classes=2)) == maps + chain(128 * 49, 512, 128, 2)
    widths = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    vgg = sum(conv(a, b) + b for a, b in pairwise(widths))  # with biases, as in timm
    assert count(timm.create_model("transferkit_vgg19")) == vgg + linear(512, 10) == 20_040_522
    plain = timm.create_model("resnet18", num_classes=10)
    assert count(timm.create_model("transferkit_resnet18")) == count(plain) - 64 * 3 * (49 - 9) == 11_173_962


def test_the_perceptron_has_the_papers_92001_parameters():
    net = timm.create_model("transferkit_mlp", num_classes=1, **TABLE)
    assert count(net) == chain(50, 250, 250, 60, 20, 10, 1) == 92_001
    assert (net.in_features, net.num_features) == (50, 10)


def test_a_width_multiplies_the_convolutions():
    net = timm.create_model("transferkit_cnn10", width=0.25, num_classes=3, in_chans=1)
    assert net.num_features == 64
    assert net.blocks[0][0].conv.weight.shape == (16, 1, 3, 3)


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("cnn10", 32, (256, 8, 8)),
        ("small_cnn", 224, (128, 28, 28)),
        ("small_cnn", 32, (128, 4, 4)),
        ("resnet20", 32, (64, 8, 8)),
        ("resnet18", 32, (512, 4, 4)),
        ("vgg19", 32, (512, 1, 1)),
        ("vgg19", 64, (512, 2, 2)),
        ("mlp", 8, (10,)),
    ],
)
def test_what_the_backbone_gives(name, size, shape):
    model, _ = model_of(name, size=size)
    with torch.no_grad():
        assert model.net.forward_features(probe_batch(model, 2)).shape == (2, *shape)
        for layer, channels, reduction in ((e["module"], e["num_chs"], e["reduction"]) for e in model.net.feature_info):
            model.tap([layer])
            tap = model(probe_batch(model, 2)).taps[layer]
            assert tap.shape[1] == channels
            assert tap.dim() == 2 or tap.shape[2] == size // reduction


# -- arithmetic ----------------------------------------------------------------------------------------------


def test_option_a_takes_every_second_pixel_and_pads_with_zero_maps():
    maps = torch.arange(32.0).reshape(1, 2, 4, 4)
    short = PaddedShortcut(2, 4)(maps)
    assert short[0, 1].tolist() == [[0, 2], [8, 10]]
    assert short[0, 2].tolist() == [[16, 18], [24, 26]]
    assert not short[0, [0, 3]].any()


def test_a_cifar_resnet_by_hand():
    """Written down once more, from the paper's section 4.2 and the names in the file alone."""
    model, _ = model_of("resnet20")
    state = model.net.state_dict()
    generator = torch.Generator().manual_seed(1)
    for tensor in state.values():  # as if trained: no statistic is 0 or 1
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    model.net.load_state_dict(state)

    def normal(x, name):
        parts = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts, eps=1e-5)

    images = torch.randn(2, 3, 32, 32, generator=generator)
    x = F.relu(normal(F.conv2d(images, state["conv1.weight"], padding=1), "bn1"))
    for stage in (1, 2, 3):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(normal(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            y = normal(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                zeros = torch.zeros(len(x), x.shape[1] // 2, *y.shape[2:])
                x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], dim=1)
            x = F.relu(y + x)
    expected = x.mean(dim=(2, 3)) @ state["linear.weight"].T + state["linear.bias"]
    with torch.no_grad():
        assert torch.allclose(model.net(images), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_perceptron_by_hand():
    model, _ = model_of("mlp", ["y"], hidden=[4, 3], **TABLE)
    rows = torch.randn(5, 1, 1, 50)
    x = rows.reshape(5, 50).double()
    for layer in model.net.layers:
        x = (x @ layer.linear.weight.double().T + layer.linear.bias).clamp(min=0)
    output = model(rows)
    assert torch.allclose(output.features.double(), x, atol=1e-6)
    assert torch.allclose(output.logits, output.features @ model.head.weight.T + model.head.bias)
    assert output.logits.shape == (5, 1)


@pytest.mark.parametrize("name", ["cnn10", "small_cnn", "resnet20", "resnet18", "vgg19", "mlp"])
def test_dropout_falls_on_the_features_in_training_only(name):
    options = {"hidden": [64, 64]} if name == "mlp" else {}
    model, _ = model_of(name, size=32, drop_rate=0.5, **options)
    images = torch.randn(64, 3, 32, 32)
    shares = []
    for mode in (True, False):
        model.train(mode)
        with torch.no_grad():
            shares.append(float((model(images).features == 0).double().mean()))
    assert shares[0] >= 0.4
    assert shares[1] < shares[0] - 0.1


# -- like any timm model -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_a_head_can_go_and_come(name):
    net = timm.create_model(name, num_classes=0).eval()
    size = net.pretrained_cfg["input_size"]
    images = torch.randn(2, *size)
    assert net(images).shape == (2, net.head_hidden_size)
    net.reset_classifier(7)
    assert net(images).shape == (2, 7)
    assert net.num_classes == 7
    assert isinstance(net.get_classifier(), nn.Linear)


def test_another_pooling():
    net = timm.create_model("transferkit_resnet20", global_pool="catavgmax")
    assert net.get_classifier().in_features == net.head_hidden_size == 128
    net.reset_classifier(3, "max")
    assert net.get_classifier().weight.shape == (3, 64)
    with pytest.raises(ValueError, match="Mlp has no global pooling"):
        timm.create_model("transferkit_mlp").reset_classifier(3, "max")


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_timms_feature_extraction_works(name):
    net = timm.create_model(name, features_only=True)
    found = net(torch.randn(2, *timm.get_pretrained_cfg(name).input_size))
    assert [maps.shape[1] for maps in found] == net.feature_info.channels()


@pytest.mark.parametrize(
    ("name", "groups", "layers"),
    [
        ("cnn10", 3, 9),
        ("small_cnn", 5, 5),
        ("resnet20", 4, 10),
        ("resnet18", 5, 9),
        ("vgg19", 5, 16),
        ("mlp", 5, 5),
    ],
)
def test_layers_have_an_order(name, groups, layers):
    """Gradual unfreezing opens whole stages; layer decay slows single layers, evenly from the top down."""
    model, _ = model_of(name, size=32)
    found = layer_groups(model)
    assert len(found) == groups + 1
    assert sorted(name for group in found for name in group) == sorted(name for name, _ in model.net.named_parameters())
    assert found[-1] == [name for name, _ in model.named_head_parameters()]
    own = [name for name, _ in model.net.named_parameters()]
    assert [own.index(group[0]) for group in found] == sorted(own.index(group[0]) for group in found)

    scales = {}
    names = {id(parameter): key for key, parameter in model.net.named_parameters()}
    for group in parameter_groups(model, Optimizer(name="sgd", lr=0.1, layer_decay=0.5)):
        scales.update({names[id(parameter)]: group["lr_scale"] for parameter in group["params"]})
    assert sorted(set(scales.values())) == [0.5**power for power in range(layers, -1, -1)]
    in_order = [scales[key] for key in own]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize(
    ("name", "size", "grid", "closed"),
    [
        ("cnn10", 32, (8, 8), True),
        ("resnet20", 32, (8, 8), True),
        ("resnet18", 32, (4, 4), True),
        ("vgg19", 64, (2, 2), True),
        ("small_cnn", 64, (8, 8), False),
    ],
)
def test_class_activation_maps(name, size, grid, closed):
    model, _ = model_of(name, size=size)
    maps = ActivationMaps(model)
    images = probe_batch(model, 2)
    found = maps(images, Wanted(torch.tensor([1, 2])))
    assert (maps.grid, maps.closed_form) == (grid, closed)
    leaf = model.net.forward_features(images).detach().requires_grad_()
    logits = model.net.forward_head(leaf)
    logits[[0, 1], [1, 2]].sum().backward()
    expected = (leaf.grad.mean(dim=(2, 3), keepdim=True) * leaf).sum(dim=1).relu()
    assert torch.allclose(found.maps[0], expected, rtol=1e-4, atol=1e-6)


def test_a_perceptron_has_no_map():
    model, _ = model_of("mlp", size=8)
    with pytest.raises(InputError, match="no class-activation maps of transferkit_mlp"):
        ActivationMaps(model)


def test_exports_with_its_own_answers(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from transferkit.deploy.export import export_model

    for name in ("resnet20", "mlp"):
        model, source = model_of(name, size=32)
        save_model(tmp_path / name, model, source, {})
        assert export_model(tmp_path / name, "onnx", inputs=["floats"], max_batch=2).entry.parity.logits <= 1e-4


def test_a_folder_opens_without_another_import_and_in_plain_timm_after_one(tmp_path):
    model, source = model_of("mlp", ["y"], hidden=[4, 3], **TABLE)
    save_model(tmp_path / "model", model, source, {})
    config = json.loads((tmp_path / "model/config.json").read_text(encoding="utf-8"))
    assert (config["architecture"], config["model_args"]["hidden"]) == ("transferkit_mlp", [4, 3])
    script = f"""
import sys, timm
folder = {str(tmp_path / "model")!r}
try:
    timm.create_model("local-dir:" + folder, pretrained=True)
except RuntimeError as error:
    print(error)
import transferkit
assert not any(name.startswith("transferkit.model") for name in sys.modules)
loaded = transferkit.load(folder)
import torch
rows = torch.ones(2, 1, 1, 50)
net = timm.create_model("local-dir:" + folder, pretrained=True).eval()
print(torch.equal(loaded(rows).logits, net(rows)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["Unknown model (transferkit_mlp)", "True"], done.stderr


# -- failures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resent20", {}, 'no model called "transferkit_resent20".*mean "transferkit_resnet20"'),
        ("resnet20", {"depth": 26}, "transferkit_resnet20 with depth=26"),
        ("resnet20", {"width": 2}, 'takes no option "width"'),
        ("cnn10", {"width": 0.001}, "leaves a layer without channels"),
        ("cnn10", {"drop_rate": 1.5}, "dropout probability"),
        ("mlp", {"hidden": []}, "hidden is a list of widths"),
        ("mlp", {"hidden": "250-60"}, "hidden is a list of widths"),
        ("mlp", {"hidden": [20, 0]}, "hidden is a list of widths"),
        ("vgg19", {"size": 16}, "cannot take images of 16x16 pixels"),
        ("small_cnn", {"size": 4}, "cannot take images of 4x4 pixels"),
        ("resnet20", {"weights": "pretrained"}, "no pretrained weights for transferkit_resnet20"),
    ],
)
def test_what_cannot_be_built_says_why(name, arguments, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        model_of(name, **arguments)


# -- real weights --------------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize(("depth", "published"), [(20, 0.910), (56, 0.931)])
def test_published_weights_recognise_cifar10(real_data, depth, published):
    """The accuracies that came with the files, through our own data pipeline: uint8 arrays in, logits out."""
    said = []
    spec = Model(name=f"transferkit_resnet{depth}")
    file = real_data / "weights" / f"resnet{depth}_cifar10.safetensors"
    model, source = build(spec, weights=file, source_classes=None, classes=None, say=said.append)
    assert not said  # no name was translated
    assert source.weight.shape == (10, 64)
    data = {"cifar10": Dataset(npz=str(real_data / "cifar10_subset" / "cifar10_subset.npz"))}
    images = open_split("cifar10", data, "test")
    samples = Samples("cifar10", "test", images, transforms(model.preprocessing, None), seed=0)
    model.eval()
    right = 0
    with torch.no_grad():
        for batch, labels in samples.evaluation_batches(250):
            right += int((model(batch).logits.argmax(dim=1) == labels).sum())
    assert len(samples) == 1000
    assert right / 1000 == pytest.approx(published, abs=0.002)
    assert right >= 905
