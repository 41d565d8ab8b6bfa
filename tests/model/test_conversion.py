"""convert: what people have, through another process; nothing in a file runs, and nothing is written by halves."""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import pickle
import shlex
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from transferkit.errors import InputError
from transferkit.model import unpickling
from transferkit.model.conversion import convert
from transferkit.model.tensor_names import cleaned
from transferkit.system.safetensors_header import converting, read_header


class Settings(dict):
    """As hyperparameters of a library that is not installed where the file is converted."""


class Runs:
    def __init__(self, what, *given):
        self.what, self.given = what, given

    def __reduce__(self):
        return self.what, self.given


STATE = {f"layer.{i}": torch.full((2,), float(i)) for i in range(4)}
PREFIXED = {f"model.{name}": tensor for name, tensor in STATE.items()}
MORE = {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "epoch": 3}
HYPER = Settings(act=torch.relu, part=functools.partial(torch.relu), rate=np.float64(0.1), how=Settings)
# file -> (its content, the path of the state dict, its tensors)
FILES = {
    "plain.pth": (STATE, "", STATE),
    "timm.pth.tar": ({**MORE, "state_dict": STATE, "args": argparse.Namespace(lr=0.1)}, "state_dict", STATE),
    "ema.pth": (
        {"model": PREFIXED, "model_ema": STATE, "args": argparse.Namespace(out=pathlib.Path("x"))}, "model_ema", STATE,
    ),
    "lightning.ckpt": ({**MORE, "state_dict": PREFIXED, "hyper_parameters": HYPER}, "state_dict", PREFIXED),
    "nested.pt": ({"model": {"state_dict": STATE}, "cfg": Settings(a=Settings())}, "model.state_dict", STATE),
}  # fmt: skip


@pytest.mark.parametrize("old", [False, True], ids=["zip", "older format"])
@pytest.mark.parametrize("name", FILES)
def test_the_state_dict_is_found(tmp_path, name, old):
    content, at, state = FILES[name]
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=not old)
    found = unpickling.main(str(tmp_path / name), "", str(tmp_path / "out"))
    assert found["key"] == at and found["tensors"] == len(state)
    written = load_file(tmp_path / "out")
    assert written.keys() == state.keys() and all(torch.equal(written[key], state[key]) for key in state)


def test_another_state_dict_by_its_key(tmp_path):
    torch.save(FILES["ema.pth"][0], tmp_path / "w.pth")
    assert unpickling.main(str(tmp_path / "w.pth"), "model", str(tmp_path / "out"))["key"] == "model"
    assert load_file(tmp_path / "out").keys() == PREFIXED.keys()
    with pytest.raises(ValueError, match='no state dict "modle" in it; there are: model, model_ema'):
        unpickling.main(str(tmp_path / "w.pth"), "modle", str(tmp_path / "out"))


def test_a_module_saved_whole_gives_its_tensors(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    net.register_buffer("passing", torch.ones(1), persistent=False)
    torch.save({"model": net, "epoch": 1}, tmp_path / "w.pt")
    found = unpickling.main(str(tmp_path / "w.pt"), "", str(tmp_path / "out"))
    written, own = load_file(tmp_path / "out"), net.state_dict()
    assert found["key"] == "model" and "torch.nn.modules.linear.Linear" in found["classes"]
    assert written.keys() == own.keys() and all(torch.equal(written[name], own[name]) for name in own)


def test_objects_that_hold_each_other_come_to_an_end(tmp_path):
    outer = Settings(state_dict=STATE)
    outer.owner = Settings(trainer=outer)
    torch.save({"trainer": outer, "again": STATE}, tmp_path / "w.ckpt")
    found = unpickling.main(str(tmp_path / "w.ckpt"), "again", str(tmp_path / "out"))
    assert found["tensors"] == len(STATE) and "trainer.state_dict" in found["state_dicts"]


@pytest.mark.parametrize("what", [exec, eval, print, os.system, open, getattr, __import__])
def test_no_code_runs(tmp_path, what):
    place = tmp_path / "ran"
    given = (str(place), "w") if what is open else (f"open({str(place)!r}, 'w')",)
    content = {"state_dict": STATE, "evil": Runs(what, *given)}
    torch.save(content, tmp_path / "w.pth")
    try:
        assert unpickling.main(str(tmp_path / "w.pth"), "", str(tmp_path / "out"))["tensors"] == len(STATE)
    except pickle.UnpicklingError as error:
        assert what is os.system and "blocked" in str(error)
    assert not place.exists()


@pytest.mark.parametrize(
    ("names", "kept", "prefixes", "left"),
    [
        (["module.model.a", "module.model.b", "module.model.criterion.w", "n_averaged"], ["a", "b"],
         ["module.", "model."], ["n_averaged", "module.model.criterion.w"]),
        (["_orig_mod.a._orig_mod.b"], ["a.b"], ["_orig_mod."], []),
        (["backbone.a", "backbone.b"], ["a", "b"], ["backbone."], []),
        (["backbone.a", "head.b"], ["backbone.a", "head.b"], [], []),
        (["model.a", "ema.a"], ["a"], ["model."], ["ema.a"]),
        (["criterion.a"], ["criterion.a"], [], []),  # there is nothing else
    ],
)  # fmt: skip
def test_prefixes_and_what_lies_beside_a_model(names, kept, prefixes, left):
    found = cleaned({name: torch.zeros(1) for name in names})
    assert (list(found.state), found.prefixes, found.left_out) == (kept, prefixes, left)


def test_it_is_checked_against_a_model_and_written_in_its_names(tmp_path):
    net = timm.create_model("test_resnet", num_classes=7)
    state = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    extra = {"criterion.weight": torch.ones(7)}
    torch.save({"state_dict": state | extra, "args": argparse.Namespace()}, tmp_path / "w.ckpt")
    found = convert(tmp_path / "w.ckpt", tmp_path / "w.safetensors", architecture="test_resnet")
    assert found.prefixes == ["model."] and found.left_out == ["criterion.weight"]
    assert found.classes == ["argparse.Namespace"] and found.entries == {"state_dict": len(state) + 1, "args": 0}
    written = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in net.state_dict().items())
    with pytest.raises(InputError, match="exists already"):
        convert(tmp_path / "w.ckpt", tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"(?s)w\.ckpt  .* do not fit test_vit") as caught:
        convert(tmp_path / "w.ckpt", tmp_path / "other.safetensors", architecture="test_vit")
    assert ".tmp" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.ckpt", "w.safetensors"]


def test_what_is_no_such_file_is_refused_and_nothing_is_left(tmp_path):
    (tmp_path / "noise.pth").write_bytes(bytes(range(256)))
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    torch.save({"a": torch.tensor([float("nan")])}, tmp_path / "nan.pth")
    before = sorted(path.name for path in tmp_path.iterdir())
    for name, words in {
        "missing.pth": "there is no such file", "noise.pth": "no state dict could be read",
        "none.pth": "there is no state dict in it", "nan.pth": "NaN or infinite",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=words):
            convert(tmp_path / name, tmp_path / "out.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_printed_command_works_in_a_shell_and_our_process_opens_no_pickle(tmp_path):
    path = tmp_path / 'it\'s "$HOME" (1).pth'
    torch.save(FILES["timm.pth.tar"][0], path)
    with pytest.raises(InputError) as caught:
        read_header(path)
    command = str(caught.value).split("convert it: ")[1]
    assert command == converting(path)
    watching = (
        "import sys, json\nopened = []\n"
        "def watch(event, args):\n"
        "    if event == 'open' and str(args[0]).endswith('.pth') or event == 'pickle.find_class':\n"
        "        opened.append(str(args))\n"
        "sys.addaudithook(watch)\n"
        "from transferkit.cli import main\n"
        "try:\n    main()\nfinally:\n    print(json.dumps(opened), file=sys.stderr)\n"
    )
    program = f"{shlex.quote(sys.executable)} -c {shlex.quote(watching)}"
    done = subprocess.run(
        command.replace("transferkit", program, 1) + " --json", shell=True, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == []
    found = json.loads(done.stdout)
    assert found["key"] == "state_dict" and found["entries"]["optimizer"] == 1
    assert load_file(found["out"]).keys() == STATE.keys()


def test_a_strange_dtype_of_its_own_is_named(tmp_path):
    torch.save({"a": torch.zeros(2), "b": torch.eye(3).to_sparse()}, tmp_path / "w.pth")
    found = unpickling.main(str(tmp_path / "w.pth"), "", str(tmp_path / "out"))
    assert found["odd"] == ["b"] and load_file(tmp_path / "out").keys() == {"a"}


@pytest.fixture
def sharded(tmp_path):
    """test_resnet in three files and an index; the tensors."""
    net = timm.create_model("test_resnet", num_classes=3)
    names = list(net.state_dict())
    parts = {f"model-{i + 1:05d}-of-00003.safetensors": names[i::3] for i in range(3)}
    for file, own in parts.items():
        save_file({name: net.state_dict()[name].clone() for name in own}, tmp_path / file)
    index = {"metadata": {}, "weight_map": {name: file for file, own in parts.items() for name in own}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "num_classes": 3}))
    return tmp_path, net.state_dict()


def test_weights_in_several_files_come_through_every_door(sharded):
    from transferkit.analysis.given_models import given_model
    from transferkit.model.creation import build
    from transferkit.model.folder import open_model
    from transferkit.recipe.schema import Model

    folder, state = sharded
    index, shard = folder / "model.safetensors.index.json", folder / "model-00002-of-00003.safetensors"
    assert read_header(index).keys() == read_header(shard).keys() == state.keys()
    spec = Model(name="test_resnet")
    local = Model(name=f"local-dir:{folder}")
    for net in (
        given_model(f"test_resnet@{index}").opened[0].net,
        given_model(f"test_resnet@{shard}").opened[0].net,
        given_model(str(folder)).opened[0].net,
        open_model(folder)[0].net,
        build(spec, weights=index, source_classes=None, classes=None)[0].net,
        build(local, weights="pretrained", source_classes=None, classes=None)[0].net,
    ):
        assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in state.items())


def test_damaged_indices_are_named(sharded):
    folder, _ = sharded
    index = folder / "model.safetensors.index.json"
    (folder / "model-00002-of-00003.safetensors").rename(folder / "aside")
    with pytest.raises(InputError, match="1 of the 3 files that belong together are not in its folder: model-00002"):
        read_header(index)
    for text, words in {
        "{": "cannot be read", "{}": "no index of weights",
        '{"weight_map": {"a": "../a.safetensors"}}': "no .safetensors",
        '{"weight_map": {"a": "a.bin"}}': "no .safetensors file beside it",
        '{"weight_map": {"absent": "model-00001-of-00003.safetensors"}}': 'in none of its files, such as "absent"',
    }.items():  # fmt: skip
        index.write_text(text)
        with pytest.raises(InputError, match=words):
            read_header(index)
