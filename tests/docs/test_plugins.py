"""plugins.md and regularizers.md: the examples work, and what ships is there."""

from __future__ import annotations

import inspect

import pytest

from transferkit.registry import Owner, Register, Registry, installed
from transferkit.testing import check_plugin

from .pages import ROOT, blocks, classes, code, defined, page, sections

EXAMPLES = [cls for block in blocks(page("plugins"), "python") for cls in classes(block)]
SHIPPED = sorted(
    path.name
    for path in (ROOT / "plugins").iterdir()
    if (path / "README.md").is_file() and path.name.removeprefix("transferkit_") in installed().names("regularizer")
)


@pytest.mark.parametrize("cls", EXAMPLES, ids=lambda cls: cls.__name__)
def test_the_examples_keep_the_promises_of_a_plugin(cls):
    check_plugin(cls)


def test_the_whole_plugin_registers():
    registry = Registry()
    names = defined(blocks(page("plugins"), "python")[0])
    names["transferkit_register"](Register(registry, Owner("spread", "transferkit-spread", "0")))
    assert registry.names("regularizer") == ["spread"]


def test_the_testing_example_runs(capsys):
    (block,) = blocks(sections(page("plugins"))["Testing"], "python")
    defined(block)
    assert "torch.Size" in capsys.readouterr().out


def test_every_kind_is_named():
    kinds = [name for name, _ in inspect.getmembers(Register, inspect.isfunction) if not name.startswith("_")]
    assert set(kinds) <= code(page("plugins"))


@pytest.mark.parametrize("package", SHIPPED)
def test_every_regularizer_that_ships_has_its_card(package):
    assert f"../plugins/{package}/README.md" in page("regularizers")
    assert package.removeprefix("transferkit_") in code(page("regularizers"))


@pytest.mark.parametrize("package", sorted(path.parent.name for path in (ROOT / "plugins").glob("*/README.md")))
def test_every_card_is_on_a_page(package):
    pages = ("regularizers", "audit", "corruptions", "curricula", "representations")
    assert any(f"../plugins/{package}/README.md" in page(name) for name in pages)


@pytest.mark.parametrize("name", installed().names("analyzer"))
def test_every_analyzer_is_introduced(name):
    assert name in code(page("audit")) | code(page("representations"))
