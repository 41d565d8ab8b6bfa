"""config.json of strangers: every damage is one InputError or a model that works; none reaches timm's loaders."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import timm
import torch
from PIL import Image
from timm.models import PretrainedCfg

from tests.mutations import mutated
from transferkit.deploy.loaded import LoadedModel
from transferkit.errors import InputError
from transferkit.model.compatibility import probe_batch
from transferkit.model.folder import open_model, save_model
from transferkit.model.folder_config import PretrainedFields, read_config
from transferkit.model.options import SOURCES
from transferkit.testing import tiny_model
from transferkit.testing.tiny import tiny_source_head


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    model = tiny_model(["ants", "bees"], drop_rate=0.25)
    return save_model(tmp_path_factory.mktemp("ours") / "model", model, tiny_source_head(model.num_features), {"a": 1})


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    net = timm.create_model("test_resnet", num_classes=2)
    timm.models.save_for_hf(net, folder, model_config={"label_names": ["a", "b"]}, safe_serialization=True)
    return folder


def write(folder, content):
    (folder / "config.json").write_text(json.dumps(content))


def use(folder):
    """As a user would: open, preprocess, predict."""
    model, head = open_model(folder)
    loaded = LoadedModel(model, head, {})
    assert loaded.preprocess(Image.new("RGB", (50, 40))).shape[0] == model.preprocessing.in_chans
    logits = loaded(probe_batch(model, 1)).logits
    assert logits.shape == (1, len(model.classes)) and logits.isfinite().all()


@pytest.mark.parametrize("which", ["ours, without sums", "plain"])
def test_mutations_are_refused_or_harmless(which, ours, plain, tmp_path):
    folder = shutil.copytree(plain if which == "plain" else ours, tmp_path / "m")
    content = json.loads((folder / "config.json").read_text())
    if which != "plain":
        del content["transferkit"]["sha256"], content["transferkit"]["files"]
    refused = 0
    for seed in range(150):
        changed, what = mutated(content, seed)
        write(folder, changed)
        try:
            use(folder)
        except InputError as error:
            refused += 1
            assert str(error)
        except Exception as error:
            raise AssertionError(what) from error
    assert 40 < refused < 150


def test_every_change_of_a_sealed_configuration_is_refused(ours, tmp_path):
    folder = shutil.copytree(ours, tmp_path / "m")
    content = json.loads((folder / "config.json").read_text())
    for seed in range(300):
        changed, what = mutated(content, seed)
        if json.dumps(changed, sort_keys=True) == json.dumps(content, sort_keys=True):
            continue
        if not isinstance(changed.get("transferkit"), dict) or "sha256" not in changed["transferkit"]:
            continue  # then it says nothing of itself
        write(folder, changed)
        with pytest.raises(InputError):
            read_config(folder)
            raise AssertionError(what)


def test_order_and_blanks_do_not_count(ours, tmp_path):
    folder = shutil.copytree(ours, tmp_path / "m")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(reversed(content.items())), indent=7))
    assert open_model(folder)[0].classes == ["ants", "bees"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pretrained_cfg": {"std": [0.5, 0, 0.5]}}, r'"pretrained_cfg\.std\.1": Input should be greater than 0'),
        ({"pretrained_cfg": {"interpolation": "cubic"}}, r'"pretrained_cfg\.interpolation": Input should be'),
        ({"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}, "larger than any model takes"),
        ({"model_args": {"img_size": 10**6}}, r'"model_args\.img_size'),
        ({"model_args": {"block": [1] * 2000}}, r"model_args\.block"),
        ({"model_args": {"channels": [2**20] * 4}}, "parameters, and its weights file holds"),
        ({"label_names": {"0": "a", "1": "b"}}, r'"label_names": Input should be a valid list'),
        ({"label_names": [1, 2]}, r'"label_names\.0": Input should be a valid string'),
        ({"num_classes": 10**12}, '"num_classes": Input should be less than'),
        ({"architecture": "hf-hub:someone/else"}, 'has no model "hf-hub:someone/else"'),
        ({"architecture": "local-dir:/tmp"}, 'has no model "local-dir:/tmp"'),
        ({"transferkit": {"format": "new"}}, r'"transferkit\.format": Input should be a valid integer'),
    ],
)
def test_what_is_wrong_is_said(plain, tmp_path, change, message):
    folder = shutil.copytree(plain, tmp_path / "m")
    content = json.loads((folder / "config.json").read_text())
    for key, value in change.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) and key != "label_names" else value
    write(folder, content)
    with pytest.raises(InputError, match=message) as error:
        open_model(folder)
    assert str(folder) in str(error.value)


def test_timms_first_form_of_the_file(plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "m")
    content = json.loads((folder / "config.json").read_text())
    flat = {**content["pretrained_cfg"], "architecture": content["architecture"], "labels": ["x", "y"]}
    write(folder, {**flat, "num_classes": 2})
    assert open_model(folder)[0].classes == ["x", "y"]


def test_each_of_timms_fields_is_known_or_left_out_on_purpose():
    fields = {field.name for field in dataclasses.fields(PretrainedCfg)}
    assert fields - set(PretrainedFields.model_fields) - set(SOURCES) <= {"label_offset", "label_descriptions"}
    assert not set(PretrainedFields.model_fields) & set(SOURCES)


def test_a_flipped_bit_in_any_file_is_found(ours, tmp_path):
    for name in ("model.safetensors", "source_head.safetensors"):
        folder = shutil.copytree(ours, tmp_path / name)
        data = bytearray((folder / name).read_bytes())
        for at in (len(data) // 2, len(data) - 1):
            data[at] ^= 1
            (folder / name).write_bytes(data)
            with pytest.raises(InputError, match=rf"{name}: not the file that was saved"):
                open_model(folder)
            data[at] ^= 1


def test_a_folder_replaced_while_it_is_read(ours, tmp_path, monkeypatch):
    from transferkit.model import folder as model_folder

    folder = shutil.copytree(ours, tmp_path / "m")
    read = model_folder.load_weights

    def replaced(*args):
        read(*args)
        (folder / "config.json").write_text((folder / "config.json").read_text())

    monkeypatch.setattr(model_folder, "load_weights", replaced)
    with pytest.raises(InputError, match="was replaced while it was read; open it again"):
        open_model(folder)


def test_a_build_that_outgrows_its_file_stops_at_once(plain):
    from transferkit.model.creation import create_net

    with pytest.raises(InputError, match=r"describes a test_resnet of more than .* parameters"):
        create_net("test_resnet", {"channels": [2**18] * 4}, where="here", file_numbers=1000)
    assert not torch.nn.modules.module._global_parameter_registration_hooks
