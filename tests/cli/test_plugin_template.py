import importlib
import subprocess
import sys
import tomllib

import pytest

from transferkit.cli.plugin_template import write_plugin
from transferkit.errors import InputError
from transferkit.registry import Owner, Registry


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    folder = write_plugin("wide-spread", tmp_path / "new")
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("transferkit_wide_spread", None)


def test_writes_four_files(plugin):
    files = sorted(path.relative_to(plugin).as_posix() for path in plugin.rglob("*") if path.is_file())
    assert files == [
        "pyproject.toml",
        "test_wide_spread.py",
        "transferkit_wide_spread/README.md",
        "transferkit_wide_spread/__init__.py",
    ]
    assert "$" not in "".join(path.read_text() for path in plugin.rglob("*") if path.is_file())


def test_the_entry_point_registers_a_working_penalty(plugin):
    import torch

    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    assert project["name"] == "transferkit-wide-spread"
    [(name, module)] = project["entry-points"]["transferkit"].items()
    registry = Registry()
    registry.load(importlib.import_module(module), Owner(name, project["name"], project["version"]))
    instance = registry.get("regularizer", "wide_spread").create({"floor": 0.5})
    features = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    assert float(instance.penalty(features)) == -0.75


def test_its_own_test_passes(plugin):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(plugin)]
    done = subprocess.run(command, cwd=plugin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_it_passes_our_own_checks(plugin):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--line-length", "110", "."],
        cwd=plugin,
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named ruff" in done.stderr:
        pytest.skip("ruff is not installed")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["Spread", "a b", "9lives", "a__b", "a-", "../x", "", "a.b"])
def test_refuses_names_that_cannot_be_modules(name, tmp_path):
    with pytest.raises(InputError, match="cannot be a plugin's name"):
        write_plugin(name, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_never_overwrites(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_plugin("spread", tmp_path)
    with pytest.raises(InputError, match="not empty"):
        write_plugin("spread", tmp_path / "file")


def test_the_verb_says_what_next_and_refuses_taken_names(cli, tmp_path):
    result = cli("plugins", "new", "spread", "--out", tmp_path / "s")
    assert result.stdout.strip() == str(tmp_path / "s")
    assert f"pip install -e {tmp_path / 's'}" in result.stderr
    with pytest.raises(InputError, match="is taken by a regularizer"):
        cli("plugins", "new", "bss", "--out", tmp_path / "b")


@pytest.mark.parametrize(
    "name",
    [
        *("lambda", "class", "none", "true", "match-lambda-", "print", "float", "warning", "torch", "json", "numpy"),
        *("transferkit", "dataclass", "field", "annotated", "tensor", "register", "bss"),
    ],
)
def test_names_that_the_package_could_not_have(tmp_path, name):
    with pytest.raises(InputError, match="cannot be a plugin's name"):
        write_plugin(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_soft_words_of_python_are_names(tmp_path):
    folder = write_plugin("match", tmp_path / "new")
    compile((folder / "transferkit_match" / "__init__.py").read_text(), "new", "exec")
