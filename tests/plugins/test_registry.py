from __future__ import annotations

import dataclasses
import subprocess
import sys
import types
from importlib.metadata import EntryPoint, distribution, distributions
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

import transferkit
from transferkit.errors import InputError
from transferkit.plugins.distributions import Owner
from transferkit.plugins.options import options_model, path_options
from transferkit.plugins.registry import Registry, discover
from transferkit.system.signals import TO_STOP

OWNER = Owner("spread", "transferkit-spread", "0.1")


@dataclasses.dataclass
class Spread:
    """Reward features that vary across the batch."""

    floor: Annotated[float, Field(ge=0)] = 0.0
    where: Path | None = None
    kept: int = dataclasses.field(init=False, default=0)

    def penalty(self, features):
        return -features.var(dim=0).clamp(min=self.floor).mean()


def module(
    name: str = "transferkit_spread", kind: str = "regularizer", cls: Any = Spread, **more: Any
) -> types.ModuleType:
    made = types.ModuleType(name)

    def transferkit_register(register: Any) -> None:
        getattr(register, kind)("spread", cls)

    made.transferkit_register = transferkit.hookimpl(transferkit_register)  # type: ignore[attr-defined]
    vars(made).update(more)
    return made


def test_options_come_from_the_fields() -> None:
    registry = Registry()
    registry.load(module(), OWNER)
    component = registry.get("regularizer", "spread")
    assert set(component.options.model_fields) == {"floor", "where"}
    assert component.create({"floor": "1e-3"}).floor == 1e-3
    assert component.hooks == ["penalty"]
    assert path_options(component.options) == ["where"]
    for wrong in ({"floor": -1}, {"flour": 1}, {"kept": 1}):
        with pytest.raises(ValidationError):
            component.create(wrong)


def test_a_class_given_as_text_is_imported_when_needed() -> None:
    registry = Registry()
    registry.load(module(cls="tests.plugins.test_registry:Spread"), OWNER)
    assert registry.get("regularizer", "spread").cls.__name__ == "Spread"


def test_a_plugin_with_arguments_must_be_a_dataclass() -> None:
    class Plain:
        def __init__(self, floor):
            self.floor = floor

    with pytest.raises(InputError, match="must be a dataclass"):
        options_model(Plain)


def two_of_a_name() -> Registry:
    registry = Registry()
    registry.load(module(), OWNER)
    registry.load(module("other"), Owner("spread", "Other.Dist", "2.0"))
    registry.load(module("third", kind="observer"), Owner("third", "third", "3.0"))
    return registry


def test_a_name_of_two_owners_is_refused_where_it_is_used() -> None:
    registry = two_of_a_name()
    with pytest.raises(InputError, match=r"2 installed .* \"spread\": transferkit-spread 0\.1 and Other\.Dist 2") as e:
        registry.get("regularizer", "spread")
    assert "use: transferkit-spread:spread or Other.Dist:spread" in str(e.value)
    assert registry.get("observer", "spread").owner.version == "3.0"
    assert registry.names("regularizer") == ["Other.Dist:spread", "transferkit-spread:spread"]
    assert registry.get("regularizer", "transferkit_spread:spread").owner == OWNER
    assert registry.get("regularizer", "other-dist:spread").owner.version == "2.0"
    assert registry.get("observer", "third:spread") is registry.get("observer", "spread")
    with pytest.raises(InputError, match='no regularizer called "nobody:spread"'):
        registry.get("regularizer", "nobody:spread")


def test_a_third_owner_of_a_name_and_one_who_fails_afterwards() -> None:
    registry = two_of_a_name()
    registry.load(module("fourth"), Owner("x", "fourth", "4"))
    assert len(registry.find("spread", "regularizer")) == 3
    registry = Registry()
    registry.load(module(), OWNER)
    broken = module("broken")
    register = broken.transferkit_register

    def offers_and_fails(given: Any) -> None:
        register(given)
        raise SystemExit(3)

    broken.transferkit_register = offers_and_fails  # type: ignore[attr-defined]
    with pytest.raises(SystemExit):
        registry.load(broken, Owner("broken", "broken", "1"))
    assert registry.get("regularizer", "spread").owner == OWNER and registry.names("regularizer") == ["spread"]


def test_one_owner_cannot_offer_a_name_twice() -> None:
    registry = Registry()
    registry.load(module(), OWNER)
    with pytest.raises(InputError, match="offers two"):
        registry.load(module("again"), Owner("again", OWNER.distribution, "0.1"))


@pytest.mark.parametrize("name", [None, "", "a b", "a:b", "-x", 3, "ü"])
def test_a_name_that_no_recipe_could_use(name: Any) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        Registry().add("observer", name, Spread, OWNER)


@pytest.mark.parametrize("target", [None, 3, "a.module", "a:b:c", Spread(), lambda: None])
def test_a_target_that_is_no_class(target: Any) -> None:
    with pytest.raises(InputError, match='must be a class or the text "module:Class"'):
        Registry().add("observer", "x", target, OWNER)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import nothing_like_it", "ModuleNotFoundError"),
        ("class Stop(BaseException): pass\nraise Stop('x')", "Stop: x"),
        ("Late = 3", "late_plugin:Late is no class"),
        ("def f(): f()\nf()", "RecursionError"),
        ("class Bad(Exception):\n    def __str__(self): raise KeyError(1)\nraise Bad", "Bad: .its text cannot be read"),
    ],
)
def test_a_class_that_is_imported_late_and_fails_names_its_plugin(body, says, tmp_path, monkeypatch) -> None:
    (tmp_path / "late_plugin.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("late_plugin", None)
    registry = Registry()
    registry.add("observer", "late", "late_plugin:Late", OWNER)
    component = registry.get("observer", "late")
    for look in (lambda: component.cls, lambda: component.options, lambda: component.create({})):
        with pytest.raises(InputError, match=rf'the observer "late" of transferkit-spread 0.1 .*{says}'):
            look()


def broken_options() -> dict[str, type]:
    def unresolved(self): ...

    names = {
        "Unresolved": {"__annotations__": {"k": "Tensor"}, "penalty": unresolved},
        "Strange": {"__annotations__": {"k": Any}, "k": dataclasses.field(default_factory=lambda: 1 / 0)},
    }
    return {name: dataclasses.dataclass(type(name, (), body)) for name, body in names.items()}


def test_options_that_cannot_be_read_name_their_plugin() -> None:
    registry = Registry()
    for name, cls in broken_options().items():
        registry.add("regularizer", name, cls, OWNER)
    with pytest.raises(InputError, match=r'"Unresolved" of transferkit-spread 0\.1 cannot be used: NameError'):
        _ = registry.get("regularizer", "Unresolved").options
    with pytest.raises(InputError, match=r'"Strange" of .* cannot read its options: ZeroDivisionError'):
        registry.get("regularizer", "Strange").create({})


def test_unknown_names_get_a_suggestion() -> None:
    registry = Registry()
    registry.load(module(), OWNER)
    with pytest.raises(InputError, match='did you mean "spread"'):
        registry.get("regularizer", "spred")
    with pytest.raises(InputError, match='"spread" belongs to another kind: regularizer'):
        registry.get("analyzer", "spread")


def test_a_misspelt_installed_hook_is_named() -> None:
    wrong = types.ModuleType("transferkit_wrong")
    wrong.transferkit_registr = lambda register: None  # type: ignore[attr-defined]
    with pytest.raises(InputError, match='did you mean "transferkit_register"'):
        Registry().load(wrong, OWNER)


class FakeDistribution:
    """Stands in for an installed distribution with one entry point."""

    def __init__(self, name: str, target: str) -> None:
        self.text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\nName: of something else"
        self.entry_points = [EntryPoint(name=name, value=target, group="transferkit")]

    def read_text(self, name: str) -> str | None:
        return self.text if name == "METADATA" else None


def test_a_plugin_that_fails_harms_nobody_who_does_not_use_it(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('not today')")
    (tmp_path / "works.py").write_text(
        "import transferkit\n"
        "class Good:\n    def penalty(self, features): return features.mean()\n"
        "@transferkit.hookimpl\ndef transferkit_register(register): register.regularizer('good', Good)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = [FakeDistribution("breaks", "breaks_on_import"), FakeDistribution("works", "works")]
    registry = discover(found)
    assert registry.names("regularizer") == ["good"]
    assert str(registry.failures[0]) == "breaks (breaks 1.0): RuntimeError: not today"
    with pytest.raises(InputError, match="failed to load: breaks"):
        registry.get("regularizer", "spread")

    monkeypatch.setenv("TRANSFERKIT_PLUGINS", "breaks")
    assert discover(found).names("regularizer") == []
    monkeypatch.delenv("TRANSFERKIT_PLUGINS")
    monkeypatch.setenv("TRANSFERKIT_DISABLE_PLUGINS", "breaks")
    assert discover(found).failures == []


HOSTILE = {
    "exits": "import sys; sys.exit('needs more')",
    "stops": "class Stop(BaseException): pass\nraise Stop",
    "recurses": "def f(): f()\nf()",
    "parses": "import argparse\np = argparse.ArgumentParser()\np.add_argument('file')\np.parse_args()",
    "nothing": "x = 1",
    "unmarked": "def transferkit_commands(cli): pass",
    "untexted": "class E(Exception):\n    def __str__(self): raise E\nraise E",
    "wanders": "import os, sys, warnings\nos.chdir('/')\nsys.excepthook = None\nwarnings.simplefilter('error')\n1 / 0",
    "takes_none": "def transferkit_register(): pass",
    "names_badly": "def transferkit_register(register): register.observer(None, int)",
    "clashes": "import transferkit\n@transferkit.hookimpl\ndef transferkit_commands(cli, more): pass",
}


def test_whatever_happens_at_import_is_recorded(tmp_path: Path, monkeypatch, capfd) -> None:
    import os
    import warnings

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, code in HOSTILE.items():
        (tmp_path / f"hostile_{name}.py").write_text(code)
    (tmp_path / "hostile_prints.py").write_text(
        "import os, sys\nprint('hello')\nprint('again', file=sys.__stdout__)\nos.write(1, b'raw')\n"
        "class Good:\n    def penalty(self, features): return 0\n"
        "def transferkit_register(register):\n    print('more')\n    register.regularizer('good', Good)\n"
    )
    hook, filters = sys.excepthook, list(warnings.filters)
    registry = discover([FakeDistribution(name, f"hostile_{name}") for name in [*HOSTILE, "prints"]])
    assert sorted(failure.owner.plugin for failure in registry.failures) == sorted(HOSTILE)
    assert registry.names("regularizer") == ["good"]
    assert os.getcwd() == str(tmp_path) and sys.excepthook is hook and list(warnings.filters) == filters
    said = capfd.readouterr()
    assert said.out == "" and all(word in said.err for word in ("hello", "again", "raw", "more"))
    texts = {failure.owner.plugin: str(failure) for failure in registry.failures}
    assert "SystemExit: needs more" in texts["exits"] and "offers nothing" in texts["nothing"]
    assert "@transferkit.hookimpl" in texts["unmarked"]


@pytest.mark.parametrize("stop", ["KeyboardInterrupt", "__import__('transferkit').system.signals.Stopped(15)"])
def test_a_signal_at_import_is_no_failure_of_the_plugin(tmp_path: Path, monkeypatch, stop: str) -> None:
    (tmp_path / "interrupted.py").write_text(f"raise {stop}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TO_STOP):
        discover([FakeDistribution("interrupted", "interrupted")])


def test_either_of_two_distributions_can_be_left_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name in ("one-dist", "Two_Dist"):
        module = name.lower().replace("-", "_")
        (tmp_path / f"{module}.py").write_text(
            "class Good:\n    def penalty(self, features): return 0\n"
            "def transferkit_register(register): register.regularizer('good', Good)\n"
        )
        found.append(FakeDistribution(name, module))
        found[-1].entry_points = [EntryPoint(name="good", value=module, group="transferkit")]
    assert not discover(found).failures
    for listed, left in [("two-dist", "one-dist"), ("one_dist:good", "Two_Dist"), ("good", None), ("x", "both")]:
        monkeypatch.setenv("TRANSFERKIT_DISABLE_PLUGINS", listed)
        owners = {one.owner.distribution for one in discover(found).components.values()}
        assert owners == ({left} if left not in (None, "both") else {"one-dist", "Two_Dist"} if left else set())
    monkeypatch.delenv("TRANSFERKIT_DISABLE_PLUGINS")
    monkeypatch.setenv("TRANSFERKIT_PLUGINS", "Two-Dist")
    assert [one.owner.distribution for one in discover(found).components.values()] == ["Two_Dist"]


@pytest.mark.parametrize(
    ("metadata", "entries", "says"),
    [
        (None, b"[transferkit]\ngood = good_one\n", "say no name"),
        (b"Metadata-Version: 2.1\n", b"[transferkit]\ngood = good_one\n", "say no name"),
        (b"Name: broken\n", b"[transferkit]\nno value here\n", "entry points cannot be read"),
        (b"Name: broken\n", b"[transferkit]\ngood = \xff\n", "entry points cannot be read"),
        (b"Name: broken\n", b"[transferkit]\ngood = !!\n", "good"),
        (b"Name: broken\n", b"[transferkit]\ngood = nothing:at.all\n", "nothing"),
        (b"\xff\xfe", b"[transferkit]\ngood = good_one\n", "say no name"),
        (None, b"[console_scripts]\ngood = good_one\n", None),
        (None, None, None),
    ],
)
def test_metadata_that_are_broken(tmp_path: Path, monkeypatch, metadata, entries, says) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    for name, content in (("METADATA", metadata), ("entry_points.txt", entries)):
        if content is not None:
            (info / name).write_bytes(content)
    failures = discover(distributions(path=[str(tmp_path)])).failures
    assert len(failures) == (says is not None)
    assert says is None or says in str(failures[0])


def test_what_ships_is_what_the_folder_holds() -> None:
    root = Path(__file__).resolve().parents[2]
    folders = {path.name for path in (root / "plugins").iterdir() if (path / "__init__.py").is_file()}
    shipped = [entry.value for entry in distribution("transferkit").entry_points if entry.group == "transferkit"]
    assert folders == set(shipped)
    found = discover()
    assert not found.failures
    owners = {c.target.split(".")[0].split(":")[0] for c in found.components.values() if isinstance(c.target, str)}
    assert owners <= folders
    for folder in folders:
        assert (root / "plugins" / folder / "README.md").is_file(), f"{folder} has no method card"


def test_discovery_does_not_import_torch() -> None:
    code = (
        "import sys, transferkit, transferkit.plugins.registry as r; found = r.installed();"
        "[c.options for c in found.components.values()];"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (99, r"needs version 99 of what plugins may use; transferkit .* has version \d+: upgrade transferkit"),
        ("2", "transferkit_api must be a whole number"),
        (True, "transferkit_api must be a whole number"),
    ],
)
def test_a_plugin_that_needs_a_newer_surface_is_refused(needed: Any, words: str) -> None:
    registry = Registry()
    with pytest.raises(InputError, match=words):
        registry.load(module(transferkit_api=needed), OWNER)
    assert not registry.components
    registry.load(module(transferkit_api=int(transferkit.API_VERSION)), OWNER)
    assert registry.names("regularizer") == ["spread"]
