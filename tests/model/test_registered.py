"""A plugin's architecture: imported when it is named, recorded in the folder, and nothing that a folder can ask for."""

from __future__ import annotations

import json
import sys
import types

import pytest
import timm
import torch

import transferkit
from transferkit.errors import InputError
from transferkit.model.creation import build, create_net
from transferkit.model.folder import open_model, save_model
from transferkit.model.registered import is_known
from transferkit.plugins import registry as registries
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry
from transferkit.recipe.schema import Model

SOURCE = """
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet

default_cfgs = generate_default_cfgs({{"{name}": {{"input_size": (3, 32, 32), "num_classes": 10, "classifier": "fc",
    "first_conv": "conv1", "mean": (0.5,) * 3, "std": (0.5,) * 3}}}})

@register_model
def {name}(pretrained=False, **kwargs):
    options = dict(block=BasicBlock, layers=[1, 1, 1, 1], channels=[8, 8, 8, 8])
    return build_model_with_cfg(ResNet, "{name}", pretrained, **options, **kwargs)
"""


def offering(name, module, distribution="their-nets", into=None):
    registry = into or Registry()
    plugin = types.ModuleType(f"plugin_of_{distribution.replace('-', '_')}")
    plugin.transferkit_register = transferkit.hookimpl(lambda register: register.model(name, module))
    registry.load(plugin, Owner(f"nets{len(registry.owners)}", distribution, "1.2"))
    return registry


@pytest.fixture
def net(tmp_path, monkeypatch, request):
    """An architecture that nothing has imported, by its name; forgotten by timm in the end."""
    name = f"theirs_{abs(hash(request.node.name)) % 10**6}"
    (tmp_path / f"module_{name}.py").write_text(SOURCE.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(f"module_{name}", None)
    for kept in (timm.models._registry._model_entrypoints, timm.models._registry._model_to_module):
        kept.pop(name, None)


def use(monkeypatch, registry):
    monkeypatch.setattr(registries, "installed", lambda: registry)


def test_it_is_imported_when_it_is_named_and_not_before(net, monkeypatch):
    use(monkeypatch, offering(net, f"module_{net}"))
    assert is_known("resnet18") and f"module_{net}" not in sys.modules
    model, _ = build(Model(name=net), weights="scratch", source_classes=None, classes=["a", "b"])
    assert f"module_{net}" in sys.modules and model.architecture == net


def test_the_folder_records_it_and_opens_where_the_plugin_is(net, tmp_path, monkeypatch):
    use(monkeypatch, offering(net, f"module_{net}"))
    model, _ = build(Model(name=net), weights="scratch", source_classes=None, classes=["a", "b"])
    folder = save_model(tmp_path / "model", model, None)
    own = json.loads((folder / "config.json").read_text())["transferkit"]
    assert own["architecture_of"] == {"distribution": "their-nets", "version": "1.2", "module": f"module_{net}"}
    timm.models._registry._model_entrypoints.pop(net)
    sys.modules.pop(f"module_{net}")  # as in another process
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(open_model(folder)[0](images).logits, model.eval()(images).logits)


def test_without_the_plugin_it_says_what_to_install_and_imports_nothing(net, tmp_path, monkeypatch):
    use(monkeypatch, offering(net, f"module_{net}"))
    folder = save_model(
        tmp_path / "model", build(Model(name=net), weights="scratch", source_classes=None, classes=["a", "b"])[0], None
    )
    timm.models._registry._model_entrypoints.pop(net)
    sys.modules.pop(f"module_{net}")
    use(monkeypatch, Registry())
    with pytest.raises(InputError, match=r"of their-nets 1\.2; install that \(pip install their-nets\) if you trust"):
        open_model(folder)
    with pytest.raises(InputError, match=f'timm has no model called "{net}"'):
        build(Model(name=net), weights="scratch", source_classes=None, classes=["a", "b"])
    assert f"module_{net}" not in sys.modules


def test_a_folder_can_name_no_module(net, tmp_path, monkeypatch):
    """Only a registered name leads to an import, whatever the folder says beside it."""
    use(monkeypatch, Registry())
    model, _ = build(Model(name="test_resnet"), weights="scratch", source_classes=None, classes=["a", "b"])
    folder = save_model(tmp_path / "model", model, None)
    config = json.loads((folder / "config.json").read_text())
    config["architecture"] = net
    config["transferkit"] |= {"architecture_of": {"distribution": "x", "module": f"module_{net}"}}
    config["transferkit"].pop("sha256")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="no installed plugin registers it"):
        open_model(folder)
    assert f"module_{net}" not in sys.modules
    config["transferkit"]["architecture_of"]["distribution"] = "x\x1b[2J; rm"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="distribution"):
        open_model(folder)


def test_what_timm_has_is_not_taken_over(monkeypatch):
    use(monkeypatch, offering("resnet18", "no_such_module"))
    assert is_known("resnet18")
    assert type(create_net("resnet18", {}, where="x")).__module__ == "timm.models.resnet"


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("no_such_module", "could not be loaded: ModuleNotFoundError"),
        ("json", 'json must register it in timm'),
    ],
)  # fmt: skip
def test_a_broken_one_is_named(monkeypatch, module, said):
    use(monkeypatch, offering("theirs_broken", module))
    with pytest.raises(InputError, match=said) as refused:
        is_known("theirs_broken")
    assert 'the model "theirs_broken" of their-nets 1.2' in str(refused.value)


def test_two_distributions_of_one_name_and_bad_names(monkeypatch):
    registry = offering("theirs_two", "json")
    offering("theirs_two", "json", "other-nets", into=registry)
    use(monkeypatch, registry)
    with pytest.raises(InputError, match=r"their-nets 1\.2 and other-nets 1\.2"):
        is_known("theirs_two")
    with pytest.raises(InputError, match="two models under the name"):
        offering("theirs_two", "os", into=registry)
    assert [one.module for one in registry.models["theirs_two"]] == ["json", "json"]  # nothing of it stays
    for name, module in (("a.b", "json"), ("hf-hub:x", "json"), ("fine", "os; rm"), ("fine", "")):
        with pytest.raises(InputError):
            offering(name, module)
