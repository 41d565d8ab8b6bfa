"""`transferkit plugins new`: for every kind a package whose tests, mypy --strict and ruff pass as it is written."""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from transferkit.cli.plugin_template import write_plugin
from transferkit.errors import InputError
from transferkit.plugins.distributions import Owner
from transferkit.plugins.kinds import KINDS
from transferkit.plugins.registry import discover
from transferkit.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]
FILES = ("pyproject.toml", "recipe.yaml", "{package}/README.md", "{package}/__init__.py", "{package}/py.typed")
CONFIG = (
    "line-length = 120",
    "lint.select = ['E', 'F', 'I', 'B', 'UP', 'SIM', 'C4', 'PIE', 'RUF', 'ANN', 'W']",
    "lint.ignore = ['RUF001', 'RUF002', 'RUF003']",
)


def package(kind):
    return f"transferkit_wide_{kind}"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """{kind: the folder of its package}, each of another name."""
    place = tmp_path_factory.mktemp("new")
    return {kind: write_plugin(f"wide-{kind}", place / kind, kind) for kind in KINDS}


def run_in(folders, *command, place=None):
    """A module of the command line in a process of its own that can import the packages."""
    paths = os.pathsep.join(map(str, folders))
    environment = {**os.environ, "PYTHONPATH": paths, "MYPYPATH": paths}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=place or folders[0].parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if f"No module named {command[0]}" in done.stderr:
        pytest.skip(f"{command[0]} is not installed")
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_is_a_whole_repository(written, kind):
    texts = {path.relative_to(written[kind]).as_posix(): path for path in written[kind].rglob("*.*")}
    files = [name.format(package=package(kind)) for name in FILES]
    assert set(texts) >= {*files, f"test_wide_{kind}.py", f"typed_wide_{kind}.py"}
    assert "$" not in "".join(path.read_text() for path in texts.values() if path.suffix in (".py", ".md", ".yaml"))


@pytest.mark.parametrize("kind", KINDS)
def test_it_registers_and_its_recipe_is_read(written, kind, monkeypatch):
    monkeypatch.syspath_prepend(written[kind])
    project = tomllib.loads((written[kind] / "pyproject.toml").read_text())["project"]
    assert project["name"] == f"transferkit-wide-{kind}"
    [(name, module)] = project["entry-points"]["transferkit"].items()
    registry = discover()
    registry.load(importlib.import_module(module), Owner(name, project["name"], project["version"]))
    assert registry.get(kind, f"wide_{kind}").owner.distribution == project["name"]
    assert load_recipe(written[kind] / "recipe.yaml", registry=registry).recipe.name == f"wide-{kind}"


def test_their_own_tests_pass(written):
    done = run_in([*written.values()], "pytest", "-q", "-p", "no:cacheprovider", *map(str, written.values()))
    assert done.returncode == 0, done.stdout


def test_they_pass_our_own_checks(written):
    given = [part for line in CONFIG for part in ("--config", line)]
    for command in (["check", *given], ["format", "--check", *given]):
        done = run_in([*written.values()], "ruff", *command, "--no-cache", ".")
        assert done.returncode == 0, done.stdout


def test_types_are_strict_and_a_wrong_one_is_found(written, tmp_path):
    wrong = write_plugin("wrongly_typed", tmp_path / "wrong")
    module = wrong / "transferkit_wrongly_typed" / "__init__.py"
    right = "def penalty(self, features: Tensor)"
    assert right in module.read_text()
    module.write_text(module.read_text().replace(right, "def penalty(self, features: str)"))
    folders = [*written.values(), wrong]
    files = [str(path) for folder in folders for path in sorted(folder.rglob("*.py"))]
    # here, and so with what mypy has kept of torch and of transferkit when it checked this repository, as strictly
    done = run_in(folders, "mypy", "--strict", *files, place=ROOT)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    found = [line for line in errors if "typed_wrongly_typed.py" in line]
    assert [line for line in found if '"penalty"' in line and 'expected "str"' in line], done.stdout
    assert not [line for line in errors if "wrongly_typed" not in line], done.stdout


@pytest.mark.parametrize("name", ["Spread", "a b", "9lives", "a__b", "a-", "../x", "", "a.b", "größe", "λ"])
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
    result = cli("plugins", "new", "spread", "--kind", "metric", "--out", tmp_path / "s")
    assert result.stdout.strip() == str(tmp_path / "s")
    assert "register.metric(" in (tmp_path / "s" / "transferkit_spread" / "__init__.py").read_text()
    assert f"pip install -e {tmp_path / 's'}" in result.stderr
    with pytest.raises(InputError, match="is taken by a regularizer"):
        cli("plugins", "new", "bss", "--out", tmp_path / "b")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        *("lambda", "class", "none", "true", "match-lambda-", "print", "float", "warning", "torch", "json", "numpy"),
        *("transferkit", "dataclass", "register", "bss"),
    ],
)
def test_names_that_the_package_could_not_have(tmp_path, name, kind):
    with pytest.raises(InputError, match="cannot be a plugin's name"):
        write_plugin(name, tmp_path / "new", kind)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["parallel", "energy", "colours", "image", "tensor", "annotated", "nn", "field"])
def test_words_of_a_template_are_refused_where_it_has_them(tmp_path, name):
    """Whatever name is accepted gives code that compiles and defines nothing twice."""
    for kind in KINDS:
        try:
            folder = write_plugin(name, tmp_path / kind, kind)
        except InputError:
            continue
        for path in folder.rglob("*.py"):
            tree = ast.parse(path.read_text())
            defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
            imported = [alias.asname or alias.name for node in ast.walk(tree) for alias in getattr(node, "names", ())]
            assert len({*defined, *imported}) == len(defined) + len(set(imported)), path


def test_soft_words_of_python_are_names(tmp_path):
    folder = write_plugin("match", tmp_path / "new")
    compile((folder / "transferkit_match" / "__init__.py").read_text(), "new", "exec")
