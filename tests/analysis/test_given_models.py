"""A model in every form people give it, what a weights file takes from another model, and what is refused."""

from __future__ import annotations

import shutil

import pytest
import timm
import torch
from safetensors.torch import save_file

from transferkit.analysis.given_models import given_model, is_bare_file, is_weights_file, read_model_section
from transferkit.analysis.workbench import Given
from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.testing import tiny_model
from transferkit.testing.tiny import tiny_source_head

CLASSES = ["ants", "bees"]


@pytest.fixture(scope="module")
def trained():
    """Not as timm would make it: other normalisation, size and an option."""
    return tiny_model(CLASSES, drop_rate=0.25)


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "stages" / "target" / "model"
    place.parent.mkdir(parents=True)
    return save_model(place, trained, tiny_source_head(trained.num_features), {})


@pytest.fixture
def weights(tmp_path):
    """A file of a test_resnet with five classes, and its state."""
    net = timm.create_model("test_resnet", num_classes=5)
    save_file(net.state_dict(), str(tmp_path / "w.safetensors"))
    return tmp_path / "w.safetensors", net.state_dict()


def same_weights(model, state):
    own = model.net.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[name], state[name]) for name in own)


def test_model_stage_and_run_folders(folder, trained, tmp_path):
    run = folder.parents[2]
    (run / "result.json").write_text('{"status": "done", "stages": {"target": {"model": "stages/target/model"}}}')
    for text in (folder, f"local-dir:{folder}", folder.parent, run):
        model, head = given_model(str(text)).opened
        assert same_weights(model, trained.net.state_dict())
        assert model.classes == CLASSES and head is not None and len(head.classes) == 12
        assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_a_folder_that_plain_timm_wrote(tmp_path):
    net = timm.create_model("test_vit", num_classes=4)
    timm.models.save_for_hf(net, tmp_path / "hf", safe_serialization=True)
    model, head = given_model(str(tmp_path / "hf")).opened
    assert same_weights(model, net.state_dict()) and head is None


def test_it_is_opened_when_it_is_needed(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    given = given_model(str(tmp_path / "m"))
    assert given.folder == tmp_path / "m"
    (tmp_path / "m" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"damaged|truncated"):
        given.open()


def test_name_at_file(weights):
    file, state = weights
    given = given_model(f"test_resnet@{file}")
    assert given.folder is None
    assert given.label == "test_resnet@w.safetensors"
    model, head = given.opened
    assert same_weights(model, state) and head is None
    assert model.classes == [str(index) for index in range(5)]
    assert model.preprocessing.input_size == (160, 160)  # timm's own: there is no other model to take them from


def test_a_file_of_the_targets_architecture_takes_its_options_and_preprocessing(weights, folder, trained):
    file, state = weights
    target = given_model(str(folder))
    for text in (f"test_resnet@{file}", str(file)):
        said = []
        model, _ = given_model(text, like=target, say=said.append).opened
        assert same_weights(model, state)
        assert model.preprocessing == trained.preprocessing
        assert model.options == {"drop_rate": 0.25}
        assert len(said) == 1 and "options and preprocessing" in said[0] and "drop_rate=0.25" in said[0]
        assert "32x32 pixels, mean 0.5, 0.5, 0.5" in said[0]


def test_a_file_of_another_architecture_takes_nothing(tmp_path, folder):
    net = timm.create_model("test_vit", num_classes=5)
    save_file(net.state_dict(), str(tmp_path / "v.safetensors"))
    said = []
    model, _ = given_model(
        f"test_vit@{tmp_path / 'v.safetensors'}", like=given_model(str(folder)), say=said.append
    ).opened
    assert model.preprocessing.input_size == (160, 160) and model.options == {} and not said


def test_a_yaml_file_says_it_all_itself(weights, folder, tmp_path):
    file, state = weights
    (tmp_path / "source.yaml").write_text(
        f"name: test_resnet\nweights: {file.name}\noptions: {{drop_rate: 0.5}}\npreprocessing: {{input_size: 64}}\n"
    )
    model, _ = given_model(str(tmp_path / "source.yaml"), like=given_model(str(folder))).opened
    assert same_weights(model, state)
    assert model.options == {"drop_rate": 0.5} and model.preprocessing.input_size == (64, 64)


def test_the_model_section_of_a_whole_recipe(tmp_path):
    (tmp_path / "r.yaml").write_text("name: x\nstages: []\nmodel: {name: test_vit, weights: sub/w.safetensors}\n")
    spec = read_model_section(tmp_path / "r.yaml")
    assert (spec.name, spec.weights) == ("test_vit", str(tmp_path / "sub" / "w.safetensors"))


def test_a_misspelt_key_of_a_yaml_file(tmp_path):
    (tmp_path / "m.yaml").write_text("name: test_vit\nweigths: w.safetensors\n")
    with pytest.raises(
        InputError, match=r'm\.yaml:2:1  model\.weigths: there is no such key\n.*did you mean "weights"'
    ):
        given_model(str(tmp_path / "m.yaml"))


def test_a_backbone_without_a_classifier(tmp_path):
    net = timm.create_model("test_resnet", num_classes=0)
    save_file(net.state_dict(), str(tmp_path / "b.safetensors"))
    timm.models.save_for_hf(net, tmp_path / "hf", safe_serialization=True)
    images = torch.randn(2, 3, 160, 160)
    for text in (f"test_resnet@{tmp_path / 'b.safetensors'}", str(tmp_path / "hf")):
        model, _ = given_model(text).opened
        assert model.classes == []
        assert torch.equal(model(images).features, net.eval()(images))


def test_names_are_known_before_anything_is_opened():
    assert isinstance(given_model("resnet18"), Given)
    assert isinstance(given_model("resnet18.a1_in1k"), Given)
    assert isinstance(given_model("hf-hub:timm/resnet18.a1_in1k@main"), Given)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".pth.tar"])
def test_a_pickle_is_never_opened(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    torch.save({"a": torch.zeros(1)}, path)
    for text in (str(path), f"test_resnet@{path}"):
        with pytest.raises(InputError, match=r"never opened, because .* can run code; convert it: transferkit convert"):
            given_model(text)


def test_a_pickle_by_another_name(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="never opened"):
        given_model(f"test_resnet@{tmp_path / 'w.safetensors'}")


def test_a_folder_with_a_pickle_only(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"as a pickle \(pytorch_model.bin\)"):
        given_model(str(tmp_path / "m"))
    (tmp_path / "m" / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="no weights in it"):
        given_model(str(tmp_path / "m"))


def test_refusals_say_which_model_and_what_to_do(weights, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for text, words in {
        "resnt18": 'source model  timm has no model called "resnt18"\n.*did you mean "resnet18"',
        f"resnt18@{weights[0]}": 'did you mean "resnet18"',
        "resnet18.nonsense": 'no weights called "nonsense"',
        f"resnet18@{tmp_path / 'none.safetensors'}": "none.safetensors does not exist",
        str(tmp_path / "none.safetensors"): "none.safetensors does not exist",
        f"resnet18@{tmp_path}": "is a folder; give it by itself",
        str(weights[0]): r"says nothing of its architecture; write NAME@",
        str(tmp_path / "nothing"): "does not exist; give a run folder",
        str(tmp_path / "none.yaml"): "there is no such file",
        str(tmp_path / "notes.txt"): "unknown kind",
        str(tmp_path): "neither a model folder",
    }.items():
        with pytest.raises(InputError, match=words):
            given_model(text, where="source model")


def test_weights_that_do_not_fit_are_named(weights):
    with pytest.raises(InputError, match="do not fit test_vit; nothing was loaded"):
        given_model(f"test_vit@{weights[0]}").open()


def test_a_folder_with_an_at_sign_in_its_name(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "me@home" / "model")
    assert given_model(str(tmp_path / "me@home")).opened[0].classes == CLASSES
    assert not is_weights_file(str(tmp_path / "me@home"))


def test_kinds_of_weights_files(tmp_path):
    (tmp_path / "a@b.safetensors").touch()
    assert is_bare_file("w.safetensors") and is_weights_file("w.safetensors")
    assert is_bare_file(str(tmp_path / "a@b.safetensors"))
    assert is_weights_file("resnet18@w.safetensors") and not is_bare_file("resnet18@w.safetensors")
    assert is_weights_file("resnet18@w.pth")
    assert not is_weights_file("hf-hub:a/b@main") and not is_weights_file("resnet18")
