"""From a recipe's `model:` section to a model: names, options, weights, sizes, heads, and what is refused."""

from __future__ import annotations

import csv
import socket

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from transferkit.errors import InputError
from transferkit.model import build
from transferkit.model.compatibility import probe_batch
from transferkit.model.preprocessing import Preprocess
from transferkit.recipe.schema import Model


def make(name="test_resnet", weights="scratch", source_classes=None, classes=("a", "b"), **rest):
    return build(
        Model(name=name, **rest),
        weights=weights,
        source_classes=source_classes,
        classes=None if classes is None else list(classes),
    )


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, no cache."""
    from huggingface_hub import constants

    def refuse(*args, **kwargs):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_weights_from_a_file_bring_their_classes(tmp_path):
    net = timm.create_model("test_resnet", num_classes=7)
    save_file(net.state_dict(), str(tmp_path / "w.safetensors"))
    model, source = make(weights=tmp_path / "w.safetensors")
    assert source.classes == [str(index) for index in range(7)]
    assert torch.equal(source.weight, net.get_classifier().weight)
    assert torch.equal(model.net.layer4[0].conv1.weight, net.layer4[0].conv1.weight)
    assert model.head.weight.shape[0] == 2


def test_without_classes_the_source_head_stays(tmp_path):
    net = timm.create_model("test_resnet", num_classes=3)
    save_file(net.state_dict(), str(tmp_path / "w.safetensors"))
    model, source = make(weights=tmp_path / "w.safetensors", source_classes=["x", "y", "z"], classes=None)
    assert model.classes == ["x", "y", "z"] == source.classes
    assert torch.equal(model.head.weight, net.get_classifier().weight)


def test_a_wrong_number_of_source_names_is_said(tmp_path):
    save_file(timm.create_model("test_resnet", num_classes=3).state_dict(), str(tmp_path / "w.safetensors"))
    with pytest.raises(InputError, match="has 3 source classes and the list of their names has 2"):
        make(weights=tmp_path / "w.safetensors", source_classes=["x", "y"])


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv2_050", "test_vit"])
def test_no_family_starts_with_a_wide_head(name):
    model, _ = make(name)
    assert float(model.head.weight.detach().abs().max()) <= model.num_features**-0.5


def test_the_same_seed_gives_the_same_model():
    torch.manual_seed(5)
    one, _ = make()
    torch.manual_seed(5)
    two, _ = make()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_local_folder_gives_model_options_and_weights(tmp_path):
    net = timm.create_model("test_vit", num_classes=3, img_size=48, in_chans=1)
    timm.models.save_for_hf(
        net, tmp_path, model_args={"img_size": 48, "in_chans": 1}, model_config={"label_names": list("xyz")},
        safe_serialization=True,
    )  # fmt: skip
    model, source = make(f"local-dir:{tmp_path}", weights="pretrained")
    assert source.classes == list("xyz")
    assert torch.equal(source.weight, net.get_classifier().weight)
    assert model.preprocessing.input_size == (48, 48)
    assert model.preprocessing.in_chans == 1
    fresh, _ = make(f"local-dir:{tmp_path}", weights="scratch")
    assert not torch.equal(fresh.net.patch_embed.proj.weight, net.patch_embed.proj.weight)


def test_a_folder_with_a_pickle_is_refused(tmp_path):
    net = timm.create_model("test_resnet", num_classes=3)
    timm.models.save_for_hf(net, tmp_path, safe_serialization=False)
    with pytest.raises(InputError, match=r"pytorch_model\.bin: a zip archive"):
        make(f"local-dir:{tmp_path}", weights="pretrained")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.json: missing, so .* is not a model folder"):
        make(f"local-dir:{tmp_path}", weights="pretrained")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="it holds a list, not an object"):
        make(f"local-dir:{tmp_path}", weights="pretrained")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("resnet81", 'did you mean "resnet18"'), ("mobilenet_v2_100", 'did you mean "mobilenetv2_100"'), ("zzz", "timm.")],
)
def test_unknown_names_get_a_suggestion(name, hint):
    with pytest.raises(InputError) as caught:
        make(name)
    assert f'timm has no model called "{name}"' in str(caught.value)
    assert hint in str(caught.value)


def test_an_unknown_tag_gets_a_suggestion():
    with pytest.raises(InputError, match=r'resnet18 has no weights called "a1_in1"\n.*did you mean "a1_in1k"'):
        make("resnet18.a1_in1")


@pytest.mark.parametrize("name", ["resnet18", "hf-hub:timm/resnet18.a1_in1k"])
def test_offline_is_one_sentence_that_says_what_works(offline, name):
    with pytest.raises(InputError) as caught:
        make(name, weights="pretrained")
    message = str(caught.value)
    assert name in message
    assert "could not be downloaded" in message
    assert "model.weights=FILE.safetensors" in message
    assert "\n" not in message


def test_a_model_without_pretrained_weights_says_so():
    with pytest.raises(InputError, match="timm has no pretrained weights for efficientnet_b8"):
        make("efficientnet_b8", weights="pretrained")


def test_unknown_options_are_named_with_a_suggestion():
    with pytest.raises(InputError, match=r'model\.options\.drop_ratee.*takes no option "drop_ratee"\n.*"drop_rate"'):
        make(options={"drop_ratee": 0.1})


def test_an_option_of_other_architectures_is_not_suggested_in_its_own_place():
    with pytest.raises(InputError, match='takes no option "pad_type"') as refused:
        make("resnet10t", options={"pad_type": ""})
    assert "did you mean" not in str(refused.value)


def test_options_that_belong_elsewhere_say_where():
    with pytest.raises(InputError) as caught:
        make(options={"num_classes": 3, "pretrained": True})
    assert [problem.where for problem in caught.value.problems] == [
        "model.options.num_classes",
        "model.options.pretrained",
    ]


def test_a_bad_value_of_an_option_is_an_input_error():
    with pytest.raises(InputError, match="timm cannot create test_resnet with output_stride=3"):
        make(options={"output_stride": 3})


def test_a_fixed_size_family_is_built_at_the_wanted_size():
    model, _ = make("test_vit", preprocessing={"input_size": 96})
    assert model.options["img_size"] == 96
    assert model.preprocessing.input_size == (96, 96)
    model, _ = make("test_vit", preprocessing={"input_size": [64, 96]})
    assert model(probe_batch(model, 1)).logits.shape == (1, 2)


def test_img_size_alone_sets_the_preprocessing():
    model, _ = make("test_vit", options={"img_size": 96})
    assert model.preprocessing.input_size == (96, 96)


def test_two_sizes_that_contradict_are_refused():
    with pytest.raises(InputError, match=r"contradicts model\.options\.img_size"):
        make("test_vit", options={"img_size": 96}, preprocessing={"input_size": 64})


def test_a_size_the_model_cannot_take_is_refused():
    with pytest.raises(InputError, match="inception_v3 cannot take images of 32x32 pixels"):
        make("inception_v3", preprocessing={"input_size": 32})


def test_positions_are_resampled_for_another_size(tmp_path):
    net = timm.create_model("test_vit", num_classes=3)
    save_file(net.state_dict(), str(tmp_path / "w.safetensors"))
    model, _ = make("test_vit", weights=tmp_path / "w.safetensors", preprocessing={"input_size": 96})
    assert model.net.pos_embed.shape != net.pos_embed.shape
    assert torch.equal(model.net.blocks[0].attn.qkv.weight, net.blocks[0].attn.qkv.weight)


def test_colour_weights_go_into_a_grey_model(tmp_path):
    net = timm.create_model("test_resnet", num_classes=3)
    save_file(net.state_dict(), str(tmp_path / "w.safetensors"))
    model, _ = make(weights=tmp_path / "w.safetensors", options={"in_chans": 1})
    assert torch.allclose(model.net.conv1[0].weight, net.conv1[0].weight.sum(dim=1, keepdim=True), atol=1e-6)
    assert len(model.preprocessing.mean) == 1
    assert Preprocess(model.preprocessing)(Image.new("RGB", (200, 200))).shape[0] == 1


def test_preprocessing_of_the_recipe_wins():
    wanted = {"mean": [0.5], "std": [0.25, 0.5, 0.75], "crop_pct": 0.5, "interpolation": "bilinear", "input_size": 48}
    model, _ = make(preprocessing=wanted)
    found = model.preprocessing
    assert found.mean == (0.5, 0.5, 0.5)
    assert found.std == (0.25, 0.5, 0.75)
    assert (found.crop_pct, found.interpolation, found.input_size) == (0.5, "bilinear", (48, 48))
    assert type(found).from_json(found.to_json()) == found


@pytest.mark.parametrize("wanted", [{"mean": [0.5, 0.5]}, {"std": [0.5, 0.0, 0.5]}])
def test_impossible_normalisation_is_refused(wanted):
    with pytest.raises(InputError, match=r"model\.preprocessing\.(mean|std)"):
        make(preprocessing=wanted)


def test_a_source_without_a_classifier(tmp_path):
    net = timm.create_model("test_vit", num_classes=0)
    timm.models.save_for_hf(net, tmp_path, safe_serialization=True)
    model, source = make(f"local-dir:{tmp_path}", weights="pretrained")
    assert source.weight.shape == (0, model.num_features)
    assert model.head.weight.shape[0] == 2
    backbone, source = make(f"local-dir:{tmp_path}", weights="pretrained", classes=None)
    assert backbone.classes == [] == source.classes and source.weight.shape == (0, backbone.num_features)
    images = probe_batch(backbone, 2)
    assert torch.equal(backbone.eval()(images).features, model.eval()(images).features)


def test_a_file_without_the_classifier_alone_is_a_backbone(tmp_path):
    net = timm.create_model("test_resnet", num_classes=7)
    state = {name: tensor for name, tensor in net.state_dict().items() if not name.startswith("fc.")}
    save_file(state, str(tmp_path / "w.safetensors"))
    model, source = make(weights=tmp_path / "w.safetensors", classes=None)
    assert model.classes == [] and source.weight.shape == (0, model.num_features)
    assert torch.equal(model.net.layer4[0].conv1.weight, net.layer4[0].conv1.weight)
    del state["layer4.0.conv1.weight"]
    save_file(state, str(tmp_path / "w.safetensors"))
    with pytest.raises(InputError, match="3 tensors missing"):
        make(weights=tmp_path / "w.safetensors", classes=None)


@pytest.mark.real_data
def test_real_weights_recognise_real_images(real_data):
    model, source = make(
        "mobilenetv2_100",
        weights=real_data / "weights" / "mobilenetv2_100_imagenet1k.safetensors",
        options={"pad_type": "same"},
        preprocessing={"mean": [0.5], "std": [0.5]},
        classes=["ants", "bees"],
    )
    assert source.weight.shape == (1000, 1280)
    assert model.head.weight.shape == (2, 1280)
    with (real_data / "labels.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if "ILSVRC2012_val" in row["path"]][::22]
    preprocess = Preprocess(model.preprocessing)
    batch = torch.stack([preprocess(Image.open(real_data / row["path"])) for row in rows])
    with torch.no_grad():
        predictions = source.logits(model.eval()(batch).features).argmax(1)
    labels = torch.tensor([int(row["imagenet_index"]) for row in rows])
    assert float((predictions == labels).double().mean()) > 0.68  # 78.6 % over all of them


def test_a_network_that_says_no_without_a_reason(monkeypatch):
    """timm checks some options with a bare assert."""

    def refuse(*args, **options):
        raise AssertionError

    monkeypatch.setattr("transferkit.model.creation.create_net", refuse)
    with pytest.raises(InputError) as found:
        make(options={"output_stride": 8})
    assert str(found.value) == (
        "model.options  timm cannot create test_resnet with output_stride=8: AssertionError without a reason\n"
        "    this architecture cannot have these values, or not together: leave them out one by one"
    )
