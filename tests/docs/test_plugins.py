"""plugins.md and regularizers.md: the examples work, and what ships is there."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest

from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Register, Registry, installed
from transferkit.testing import check_plugin

from .pages import PAGES, ROOT, blocks, classes, code, defined, page, sections

EXAMPLES = [cls for block in blocks(page("plugins"), "python") if "lazy_imports" not in block for cls in classes(block)]
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


def test_the_package_shows_its_function_without_importing_torch(tmp_path):
    (block,) = blocks(sections(page("plugins"))["Packaging"], "python")
    (tmp_path / "shown.py").write_text(block)
    code = "import sys, shown; assert shown.__all__ == ['bss'] and 'torch' not in sys.modules; assert shown.bss"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})


def test_the_testing_example_runs(capsys):
    (block,) = blocks(sections(page("plugins"))["Testing"], "python")
    defined(block)
    assert "torch.Size" in capsys.readouterr().out


def test_the_made_up_analysis_is_what_it_says():
    (block,) = blocks(sections(page("plugins"))["Test an analyzer"], "python")
    assert "assert Agreement().analyze(session)" in block
    defined(block)


def test_every_kind_is_named():
    kinds = [name for name, _ in inspect.getmembers(Register, inspect.isfunction) if not name.startswith("_")]
    assert set(kinds) <= code(page("plugins"))


@pytest.mark.parametrize("package", SHIPPED)
def test_every_regularizer_that_ships_has_its_card(package):
    assert f"../plugins/{package}/README.md" in page("regularizers")
    assert package.removeprefix("transferkit_") in code(page("regularizers"))


@pytest.mark.parametrize("package", sorted(path.parent.name for path in (ROOT / "plugins").glob("*/README.md")))
def test_every_card_is_on_a_page(package):
    assert any(f"../plugins/{package}/README.md" in path.read_text(encoding="utf-8") for path in PAGES)


@pytest.mark.parametrize("name", installed().names("analyzer"))
def test_every_analyzer_is_introduced(name):
    assert name in code(page("audit")) | code(page("representations"))
