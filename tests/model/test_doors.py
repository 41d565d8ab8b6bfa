"""One list of options for everything that reaches timm.create_model, whatever the door, and no pickle is opened."""

from __future__ import annotations

import ast
import inspect
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from timm.models import _builder

import transferkit
from transferkit.errors import InputError
from transferkit.model.creation import COMMON
from transferkit.model.options import RESERVED, permitted

SCRIPT = """
import json, pickle, sys
from pathlib import Path
import torch, timm
import transferkit
from transferkit.analysis.given_models import given_model
from transferkit.errors import InputError
from transferkit.model import build, creation, origin
from transferkit.model.folder import open_model
from transferkit.recipe import load_recipe
from transferkit.recipe.schema import Model

root = Path(sys.argv[1])
opened = []
def watch(event, args):
    if event == "open" and str(args[0]).endswith((".pth", ".bin", ".pkl")) or event == "pickle.find_class":
        opened.append((event, str(args)))
sys.addaudithook(watch)
def refuse(*args, **kwargs):
    opened.append(("torch.load", str(args)))
    raise RuntimeError("torch.load")
torch.load = torch.serialization.load = refuse

folder, evil = root / "model", str(root / "model" / "evil.pth")
clean = json.loads((folder / "config.json").read_text())
origin.fetch = lambda repository, name: folder / name
def made(name, weights="pretrained", **options):
    return build(Model(name=name, options=options), weights=weights, source_classes=None, classes=["a"])
doors = {
    "load": lambda: transferkit.load(folder),
    "open": lambda: open_model(folder),
    "folder": lambda: given_model(str(folder)).opened,
    "local-dir": lambda: given_model(f"local-dir:{folder}").opened,
    "recipe": lambda: made(f"local-dir:{folder}"),
    "scratch": lambda: made(f"local-dir:{folder}", "scratch"),
    "hub": lambda: made("hf-hub:some/one"),
    "given hub": lambda: given_model("hf-hub:some/one").opened,
}
loaders = [
    {"model_args": {"checkpoint_path": evil}}, {"model_args": {"pretrained": True}},
    {"model_args": {"pretrained_cfg": {"file": evil}}}, {"model_args": {"pretrained_cfg_overlay": {"file": evil}}},
    {"model_args": {"pretrained_custom_load": True}}, {"model_args": {"cache_dir": str(folder)}},
    {"model_args": {"features_only": True}}, {"model_args": {"block_args": {"checkpoint_path": evil}}},
    {"pretrained_cfg": {"file": evil}}, {"pretrained_cfg": {"file": evil, "custom_load": True}},
    {"pretrained_cfg": {"url": "file://" + evil}}, {"pretrained_cfg": {"hf_hub_id": "some/one"}},
    {"pretrained_cfg": {"state_dict": {"a": 1}}}, {"pretrained_cfg": {"source": "local-dir", "file": str(folder)}},
    {"pretrained_cfg": {"custom_load": "hf"}}, {"architecture": "local-dir:" + str(folder)},
    {"architecture": "hf-hub:some/one"},
]
wrong = []
for change in loaders:
    content = json.loads(json.dumps(clean))
    for key, value in change.items():
        content[key] = {**(content.get(key) or {}), **value} if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(content))
    for name, door in doors.items():
        try:
            door()
            wrong.append(("let through", name, change))
        except InputError as error:
            key = next(iter(change.get("model_args") or change.get("pretrained_cfg") or change))
            if key not in str(error) and "no model" not in str(error):
                wrong.append(("not named", name, change, str(error)))
(folder / "config.json").write_text(json.dumps(clean))
for name, door in doors.items():
    door()
options = [change["model_args"] for change in loaders if "model_args" in change]
for value in [*options, {"depth": 2**70}, {"a-b": 1}]:
    (root / "m.yaml").write_text(json.dumps({"name": "test_resnet", "options": value}))
    (root / "r.yaml").write_text(json.dumps({"name": "r", "model": {"name": "test_resnet"}, "datasets": {"d": {
        "folder": str(root)}}, "stages": [{"name": "s", "dataset": "d", "epochs": 1, "start": "scratch",
        "model": {"name": "test_resnet", "options": value}}]}))
    for name, door in {
        "options": lambda: made("test_resnet", "scratch", **value),
        "yaml": lambda: given_model(str(root / "m.yaml")),
        "stage": lambda: load_recipe(root / "r.yaml"),
    }.items():
        try:
            door()
            wrong.append(("let through", name, value))
        except InputError as error:
            if next(iter(value)) not in str(error):
                wrong.append(("not named", name, value, str(error)))
# weights of the hub that exist as a pickle only, in a folder, and of timm's registry
(folder / "model.safetensors").unlink()
def missing(repository, name):
    from huggingface_hub.errors import EntryNotFoundError
    if (folder / name).exists():
        return folder / name
    raise EntryNotFoundError(name)
origin.fetch = missing
pickled = {"resnet": lambda: made("resnet18"),
    "url": lambda: made("gcvit_xxtiny")}
for name, door in {**doors, **pickled}.items():
    if name != "scratch":
        try:
            door()
            wrong.append(("let through", name, "pickle"))
        except InputError as error:
            if "pickle" not in str(error) and "zip archive" not in str(error):
                wrong.append(("not named", name, str(error)))
print(json.dumps({"wrong": wrong, "opened": [one for one in opened if "evil" in one[1] or one[0] != "open"]}))
sys.exit(Path(root / "ran").exists())
"""


class Evil:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return open, (str(self.place), "w")


def test_no_door_lets_a_loader_through_and_no_pickle_is_opened(tmp_path):
    folder = tmp_path / "model"
    timm.models.save_for_hf(timm.create_model("test_resnet", num_classes=2), folder, safe_serialization="both")
    for name in ("evil.pth", "a.bin", "a.pth.tar"):
        (folder / name).write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    assert (folder / "pytorch_model.bin").exists()
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == [], found["wrong"]
    assert found["opened"] == []


def test_what_timms_factory_takes_for_itself_is_on_the_list():
    taken = {
        name
        for function in (timm.create_model, _builder.build_model_with_cfg)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    popped = set(re.findall(r"kwargs\.pop\('(\w+)'", inspect.getsource(_builder))) - {"pruned"}
    assert taken | popped <= RESERVED.keys()
    assert not set(COMMON) & RESERVED.keys()


def test_there_is_one_call_of_timms_factory():
    root = Path(transferkit.__file__).parent
    calls = {
        path.relative_to(root)
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "timm.create_model"
    }
    assert calls == {Path("model/creation.py"), Path("testing/tiny.py")}


def test_options_of_networks_pass():
    options = {
        "in_chans": 1, "img_size": [48, 64], "drop_path_rate": 0.1, "act_layer": "silu", "pretrained_window_sizes": [0],
        "global_pool": "avg", "norm_eps": 1e-6, "qkv_bias": False, "layers": [1, 2], "act_kwargs": {"inplace": True},
        "weight_init": "", "patch_size": None,
    }  # fmt: skip
    assert permitted(options, "model.options") == options


@pytest.mark.parametrize("value", [float("inf"), 2**70, "x" * 1000, [[[[[1]]]]], object(), b"x", list(range(5000))])
def test_values_that_are_no_plain_data_do_not(value):
    with pytest.raises(InputError, match=r"model\.options\.depth"):
        permitted({"depth": value}, "model.options")
