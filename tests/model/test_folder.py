"""The model folder: atomic, complete, opened here and in plain timm, refused when damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import timm
import torch
from PIL import Image

import transferkit.model.folder as model_folder
from transferkit.deploy.loaded import load
from transferkit.errors import InputError, NonFiniteError, TransferkitError
from transferkit.model import build
from transferkit.model.compatibility import probe_batch
from transferkit.model.folder import open_model, read_info, save_model
from transferkit.recipe.schema import Model

INFO = {"stage": "target", "recipe": "ants", "source": {"name": "test_vit", "sha256": "0" * 64}}


@pytest.fixture
def built():
    torch.manual_seed(0)
    spec = Model(
        name="test_vit",
        options={"in_chans": 1, "drop_rate": 0.1},
        preprocessing={
            "input_size": [64, 96],
            "mean": [0.1],
            "std": [0.2],
            "crop_pct": 0.8,
            "interpolation": "bilinear",
        },
    )
    return build(spec, weights="scratch", source_classes=list("vwxyz"), classes=["ants", "bées"])


@pytest.fixture
def folder(built, tmp_path):
    return save_model(tmp_path / "model", *built, INFO)


def test_it_holds_only_json_and_safetensors(folder):
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "source_head.safetensors",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_everything_comes_back(built, folder):
    model, source = built
    opened, head = open_model(folder)
    assert not opened.training
    assert opened.classes == ["ants", "bées"]
    assert opened.preprocessing == model.preprocessing
    assert opened.options == model.options
    assert head.classes == list("vwxyz")
    assert torch.equal(head.weight, source.weight)
    assert torch.equal(head.bias, source.bias)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), opened.state_dict().values(), strict=True)
    )


def test_what_the_run_knew_is_in_the_configuration(folder):
    info = read_info(folder)
    assert {key: info[key] for key in INFO} == INFO
    assert info["format"] == 1
    assert info["classes"] == ["ants", "bées"]
    assert info["source_classes"] == list("vwxyz")


def test_plain_timm_gives_the_same_logits_and_transform(built, folder):
    model, _ = built
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = probe_batch(model, 2)
    with torch.no_grad():
        assert torch.equal(plain(images), model.eval()(images).logits)
    config = timm.data.resolve_model_data_config(plain)
    assert tuple(config["input_size"]) == (1, 64, 96)
    assert (tuple(config["mean"]), tuple(config["std"])) == ((0.1,), (0.2,))
    assert (config["crop_pct"], config["interpolation"]) == (0.8, "bilinear")
    assert list(plain.pretrained_cfg["label_names"]) == ["ants", "bées"]


def test_saving_again_replaces_the_whole_folder(built, folder):
    model, _ = built
    (folder / "interference.json").write_text("{}")
    model.swap_head(["x", "y", "z"])
    save_model(folder, model, None)
    assert open_model(folder)[0].classes == ["x", "y", "z"]
    assert open_model(folder)[1] is None
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_failure_leaves_the_old_folder(built, folder, monkeypatch):
    before = (folder / "config.json").read_text()

    def fail(path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(model_folder, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(folder, *built, {"stage": "other"})
    assert (folder / "config.json").read_text() == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_saving_the_same_model_twice_gives_the_same_bytes(built, tmp_path):
    one, two = (save_model(tmp_path / name, *built, INFO) for name in ("one", "two"))
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


def test_opening_draws_nothing_from_the_random_generator(folder):
    state = torch.get_rng_state()
    open_model(folder)
    assert torch.equal(torch.get_rng_state(), state)


def test_other_channel_orders_are_stored_plainly(built, tmp_path):
    model, source = built
    expected = model.net.patch_embed.proj.weight.detach().clone()
    model.to(memory_format=torch.channels_last)
    opened, _ = open_model(save_model(tmp_path / "model", model, source))
    assert torch.equal(opened.net.patch_embed.proj.weight, expected)


def test_a_folder_of_plain_timm_opens(tmp_path):
    net = timm.create_model("test_resnet", num_classes=2).eval()
    timm.models.save_for_hf(net, tmp_path, model_config={"label_names": ["a", "b"]}, safe_serialization=True)
    model, head = open_model(tmp_path)
    assert model.classes == ["a", "b"]
    assert head is None
    images = probe_batch(model, 1)
    with torch.no_grad():
        assert torch.equal(model(images).logits, net(images))


def test_a_stage_can_start_from_a_folder(built, folder):
    model, _ = built
    spec = Model(name=f"local-dir:{folder}")
    started, source = build(spec, weights="pretrained", source_classes=None, classes=["x", "y", "z"])
    assert source.classes == ["ants", "bées"]
    assert torch.equal(source.weight, model.head.weight)
    assert torch.equal(started.net.blocks[0].attn.qkv.weight, model.net.blocks[0].attn.qkv.weight)
    assert started.preprocessing == model.preprocessing


def test_loading_for_prediction(built, folder):
    model, _ = built
    loaded = load(folder)
    image = Image.effect_noise((200, 150), 80).convert("RGB")
    batch = loaded.preprocess(image).unsqueeze(0)
    assert batch.shape == (1, 1, 64, 96)
    prediction = loaded(batch)
    with torch.no_grad():
        assert torch.equal(prediction.logits, model.eval()(batch).logits)
    assert torch.allclose(prediction.probabilities.sum(1), torch.ones(1))
    assert loaded.classes == ["ants", "bées"]
    assert loaded.to("cpu") is loaded
    assert not prediction.logits.requires_grad


@pytest.mark.parametrize("shape", [(1, 64, 96), (1, 3, 64, 96)])
def test_a_batch_of_another_shape_is_refused(folder, shape):
    with pytest.raises(InputError, match=r"takes a batch of images \(n, 1, height, width\)"):
        load(folder)(torch.zeros(shape))


def test_loading_needs_neither_recipes_nor_accelerate(folder):
    code = (
        f"import sys, transferkit; transferkit.load({str(folder)!r}); "
        "sys.exit(any(name in sys.modules for name in ('accelerate', 'transferkit.recipe', 'pluggy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def edit(folder, change) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    if isinstance(content["transferkit"], dict):
        content["transferkit"].pop("sha256")  # an edit on purpose
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(architecture="no_such_model"), 'has no model called|has no model "no_such_model"'),
        (lambda c: c.pop("architecture"), '"architecture" is missing'),
        (lambda c: c.update(transferkit=3), '"transferkit": Input should be'),
        (lambda c: c["transferkit"].update(format=99), "schema version 99, .*reads up to 1: upgrade"),
        (lambda c: c["transferkit"].update(classes=["a"]), "1 class names for a model with 2 classes"),
        (lambda c: c["transferkit"]["preprocessing"].pop("mean"), '"transferkit.preprocessing.mean" is missing'),
        (lambda c: c["model_args"].update(nonsense=1), "timm cannot create test_vit from it"),
        (lambda c: c.update(num_classes=5), "of another shape: .*head"),
    ],
)
def test_damaged_configurations_are_said(folder, change, message):
    edit(folder, change)
    with pytest.raises(InputError, match=message):
        open_model(folder)


def test_missing_parts_are_said(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="there is no such weights file"):
        open_model(folder)
    with pytest.raises(InputError, match=r"config\.json: missing, so .*nowhere is not a model folder"):
        open_model(folder / "nowhere")


class Wrapped(torch.nn.Module):
    """As a plugin may put it in a layer's place."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_a_model_that_its_folder_would_not_give_back_is_not_saved(built, folder):
    model, source = built
    before = (folder / "model.safetensors").read_bytes()
    handle = model.net.patch_embed.register_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(TransferkitError, match="gives other logits than the model that was trained") as caught:
        save_model(folder, model, source)
    assert caught.value.exit_code == 1
    handle.remove()
    model.net.patch_embed.proj = Wrapped(model.net.patch_embed.proj)
    with pytest.raises(
        TransferkitError, match=r"could not be opened again: .*patch_embed\.proj\.inner\.weight"
    ) as caught:
        save_model(folder, model, source)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_what_stands_in_place_of_a_file_is_said(folder, tmp_path):
    for name, reason in {"config.json": "not a file", "model.safetensors": "not a file|a folder"}.items():
        for make in (os.mkdir, os.mkfifo):
            place = shutil.copytree(folder, tmp_path / f"{name}-{make.__name__}")
            (place / name).unlink()
            make(place / name)
            with pytest.raises(InputError, match=reason):
                open_model(place)
    (folder / "config.json").write_bytes(b"")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        open_model(folder)


def test_a_folder_of_before_checksums_opens(built, folder):
    edit(folder, lambda content: content["transferkit"].pop("files"))
    assert open_model(folder)[0].classes == ["ants", "bées"]


def test_a_folder_of_links_opens(folder, tmp_path):
    (tmp_path / "links").mkdir()
    for path in folder.iterdir():
        (tmp_path / "links" / path.name).symlink_to(path)
    assert open_model(tmp_path / "links")[0].classes == ["ants", "bées"]


def test_a_model_that_is_no_numbers_is_not_saved(built, folder):
    model, source = built
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        model.net.patch_embed.proj.bias[0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"is not written to .*: it is not finite in patch_embed\.proj\.bias"):
        save_model(folder, model, source)
    assert (folder / "model.safetensors").read_bytes() == before
