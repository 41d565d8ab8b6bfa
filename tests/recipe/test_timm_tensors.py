"""The list of timm's tensors is of the timm that is installed, and says nothing that loading could refute."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import timm

from transferkit.recipe.timm_tensors import LIST, fingerprint, is_listed, owners

from .tensors_of_timm import listed, shapes


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenetv2_100", "convnext_atto", "test_vit", "test_byobnet", "regnetx_002"]
)
def test_the_list_has_the_tensors_of_the_installed_timm(name):
    assert name in owners(shapes(name)) and is_listed(name)
    assert list(listed([name]).values()) == [name]


def test_models_of_one_size_and_of_other_sizes():
    assert owners(shapes("resnet34"))[0] == "resnet34" and "resnet18" not in owners(shapes("resnet34"))
    # the tables of positions and the patches of other image sizes are resampled, so either's weights may be meant
    same = owners(shapes("vit_tiny_patch16_224"))
    assert {"vit_tiny_patch16_224", "vit_tiny_patch16_384"} <= set(same)
    assert owners({"a": [3]}) == [] and not is_listed("resnet19")


def test_what_loading_changes_is_left_out():
    net = timm.create_model("test_resnet", num_classes=7, in_chans=1)
    other = {name: list(value.shape) for name, value in net.state_dict().items()}
    assert fingerprint(other) == fingerprint(shapes("test_resnet"))
    headless = {name: shape for name, shape in other.items() if not name.startswith("fc.")}
    old = {name: shape for name, shape in headless.items() if not name.endswith("num_batches_tracked")}
    assert fingerprint(old) == fingerprint(other)
    wider = other | {"layer1.0.bn1.weight": [other["layer1.0.bn1.weight"][0] + 1]}
    assert fingerprint(wider) != fingerprint(other)


def test_every_model_is_listed_once_and_the_list_needs_no_torch():
    names = [name for same in json.loads(LIST.read_text())["models"].values() for name in same.split()]
    assert len(names) == len(set(names)) > 1000
    looks = "import sys; from transferkit.recipe.timm_tensors import owners; owners({})"
    subprocess.run([sys.executable, "-c", f"{looks}; assert not {{'torch', 'timm'}} & {{*sys.modules}}"], check=True)
