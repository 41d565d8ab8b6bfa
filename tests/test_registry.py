from __future__ import annotations

import dataclasses
import subprocess
import sys
import types
from importlib.metadata import EntryPoint, distribution
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

import transferkit
from transferkit.errors import InputError
from transferkit.registry import Owner, Registry, discover, options_model, path_options

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
    assert path_options(component) == ["where"]
    for wrong in ({"floor": -1}, {"flour": 1}, {"kept": 1}):
        with pytest.raises(ValidationError):
            component.create(wrong)


def test_a_class_given_as_text_is_imported_when_needed() -> None:
    registry = Registry()
    registry.load(module(cls="tests.test_registry:Spread"), OWNER)
    assert registry.get("regularizer", "spread").cls.__name__ == "Spread"


def test_a_plugin_with_arguments_must_be_a_dataclass() -> None:
    class Plain:
        def __init__(self, floor):
            self.floor = floor

    with pytest.raises(InputError, match="must be a dataclass"):
        options_model(Plain)


def test_two_owners_of_a_name_are_both_named() -> None:
    registry = Registry()
    registry.load(module(), OWNER)
    with pytest.raises(InputError, match=r"transferkit-spread 0\.1 and other 2\.0"):
        registry.load(module("other"), Owner("other", "other", "2.0"))


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
        self.metadata = {"Name": name}
        self.version = "1.0"
        self.entry_points = [EntryPoint(name=name, value=target, group="transferkit")]


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


def test_what_ships_is_what_the_folder_holds() -> None:
    root = Path(__file__).resolve().parents[1]
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
        "import sys, transferkit, transferkit.registry as r; found = r.installed();"
        "[c.options for c in found.components.values()];"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
