"""Every supported family: one forward route, one head, taps, a folder that opens here and in plain timm."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import pytest
import timm
import torch

from transferkit.errors import InputError
from transferkit.model import build, reference_of
from transferkit.model.compatibility import probe_batch
from transferkit.model.folder import open_model, save_model
from transferkit.recipe.schema import Model


@dataclass
class Family:
    name: str
    size: int = 64
    options: dict = field(default_factory=dict)
    width: int | None = None


SMALL_SWIN = {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 2], "window_size": 2}
FAMILIES = [
    Family("resnet18", width=512),
    Family("vgg11", 32, {"mlp_ratio": 0.05}, width=4096),
    Family("densenet121", width=1024),
    Family("mobilenetv2_100", options={"pad_type": "same"}, width=1280),
    Family("mobilenetv3_small_050", width=1024),
    Family("efficientnet_b0", width=1280),
    Family("convnext_atto", width=320),
    Family("regnetx_002", width=368),
    Family("swin_tiny_patch4_window7_224", options=SMALL_SWIN, width=192),
    Family("vit_tiny_patch16_224", width=192),
    Family("deit_tiny_patch16_224", width=192),
    Family("mixer_s32_224", width=512),
    Family("xcit_nano_12_p16_224", width=128),
    Family("transferkit_cnn10", 32, {"width": 0.25}, width=64),
    Family("transferkit_small_cnn", 64, width=128),
    Family("transferkit_resnet20", 32, width=64),
    Family("transferkit_resnet18", 32, width=512),
    Family("transferkit_vgg19", 32, width=512),
    Family("transferkit_mlp", 16, {"hidden": [40, 30, 20]}, width=20),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_works_from_end_to_end(family: Family, tmp_path):
    torch.manual_seed(0)
    spec = Model(name=family.name, options=family.options, preprocessing={"input_size": family.size})
    model, source = build(spec, weights="scratch", source_classes=list("vwxyz"), classes=["ants", "bees", "wasps"])
    assert model.preprocessing.input_size == (family.size, family.size)
    assert model.num_features == family.width
    assert source.weight.shape == (5, family.width)
    assert source.classes == list("vwxyz")

    model.tap(model.default_taps())
    model.eval()
    images = probe_batch(model, 2)
    with torch.no_grad():
        output = model(images)
        assert torch.allclose(output.logits, model.net(images), rtol=1e-5, atol=1e-6)
    assert output.features.shape == (2, family.width)
    assert torch.equal(model.head(output.features), output.logits)
    assert 1 <= len(output.taps) <= 4
    for name, tap in output.taps.items():
        assert len(tap) == 2
        assert model.reading(name).channels in tap.shape[1:]

    check_names(model)
    check_reference(model, source, images)
    check_folder(model, source, images, output.logits, tmp_path / "model")


def check_names(model) -> None:
    own = dict(model.net.named_parameters())
    backbone, head = dict(model.named_backbone_parameters()), dict(model.named_head_parameters())
    assert own.keys() == backbone.keys() | head.keys()
    assert not backbone.keys() & head.keys()
    assert len(head) == 2


def check_reference(model, source, images) -> None:
    reference = reference_of(model, source)
    parent = torch.nn.ModuleList([model, reference])
    parent.train()
    assert model.training
    assert not any(part.training for part in reference.modules())
    parent.eval()
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    with torch.no_grad():
        ours, theirs = model(images), reference(images)
    assert theirs.logits.shape == (2, 5)
    assert torch.allclose(theirs.logits, source.logits(ours.features), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(ours.taps[name], theirs.taps[name]) for name in ours.taps)


def check_folder(model, source, images, logits, folder) -> None:
    save_model(folder, model, source, {"stage": "target"})
    opened, head = open_model(folder)
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(opened(images).logits, logits)
        assert torch.equal(plain(images), logits)
    assert opened.classes == ["ants", "bees", "wasps"]
    assert opened.preprocessing == model.preprocessing
    assert torch.equal(head.weight, source.weight)
    config = timm.data.resolve_model_data_config(plain)
    assert tuple(config["input_size"])[1:] == model.preprocessing.input_size


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "levit_128s"])
def test_a_model_with_two_heads_is_refused_by_name(name):
    with pytest.raises(InputError, match=f"{name} cannot be used: it has two classifiers.*distilled") as caught:
        build(Model(name=name), weights="scratch", source_classes=None, classes=["a", "b"])
    assert "use " in str(caught.value)


def test_the_plain_sibling_of_a_distilled_model_is_offered():
    with pytest.raises(InputError, match="use deit_tiny_patch16_224 instead"):
        build(Model(name="deit_tiny_distilled_patch16_224"), weights="pretrained", source_classes=None, classes=["a"])


def test_a_deep_copy_has_taps_of_its_own():
    model, _ = build(Model(name="test_resnet"), weights="scratch", source_classes=None, classes=["a", "b"])
    model.tap(["layer4"])
    twin = copy.deepcopy(model).eval()
    images = probe_batch(model.eval(), 2)
    assert model(images).taps["layer4"] is not twin(images).taps["layer4"]
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert float(twin(images).taps["layer4"].detach().abs().max()) == 0
    assert float(model(images).taps["layer4"].detach().abs().max()) > 0
