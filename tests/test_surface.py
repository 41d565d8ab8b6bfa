"""Plugins stand on what is public, what is public is written down, and files import in one direction."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import py_compile
import re
import subprocess
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest

from tests.house import ROOT, circles, files, graph, imports

PACKAGES = ("transferkit", "transferkit.analysis", "transferkit.data", "transferkit.model", "transferkit.testing")
SURFACE = (*PACKAGES, "transferkit.errors", "transferkit.report", "transferkit.statistics")
PLUGINS = sorted(
    path
    for top in ("plugins", "examples")
    for path in (ROOT / top).rglob("*.py")
    if (path.parent / "__init__.py").is_file()  # tests of a package lie beside it
)
PUBLIC = [(module, name) for module in SURFACE for name in import_module(module).__all__]


def owner(path: Path) -> str:
    """The plugin's package."""
    return next(part for part in reversed(path.parts[:-1]) if part.startswith("transferkit_"))


def public(module: str) -> set[str]:
    """What a module of ours lists, where others may import from it: the surface, and a plugin's package."""
    listed = module in SURFACE or re.fullmatch(r"transferkit_\w+", module)
    return set(getattr(import_module(module), "__all__", ())) if listed else set()


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: "/".join(path.relative_to(ROOT).parts[1:]))
def test_plugins_import_only_what_is_listed(path: Path) -> None:
    own = owner(path)
    for one in imports(path):
        if one.module.partition(".")[0] == own or not one.module.startswith("transferkit"):
            assert not one.module.startswith("."), f"line {one.line}: write imports out"
            continue
        if one.name:
            assert one.name in public(one.module), f"line {one.line}: {one.module} does not list {one.name}"
        else:
            assert one.module in SURFACE, f"line {one.line}: {one.module} is not public"


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: "/".join(path.relative_to(ROOT).parts[1:]))
def test_plugins_name_only_what_is_listed(path: Path) -> None:
    """In texts that become imports, and as attributes of `transferkit`."""
    own = owner(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            module = node.value.partition(":")[0]
            if re.fullmatch(r"transferkit(\w*)(\.\w+)+", module) and module.partition(".")[0] != own:
                assert module in SURFACE, f"line {node.lineno}: {module} is not public"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "transferkit":
            assert node.attr in public("transferkit"), f"line {node.lineno}: transferkit.{node.attr} is not public"


@pytest.mark.parametrize("module", PACKAGES)
def test_dir_is_the_surface_and_all_of_it_is_there(module: str) -> None:
    package = import_module(module)
    assert dir(package) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None


@pytest.mark.parametrize("module", PACKAGES)
def test_what_readers_of_types_see_is_what_is_imported(module: str) -> None:
    package = import_module(module)
    typed = {one.name: one.module for one in imports(files()[module]) if one.typing}
    assert set(package.__all__) - {"API_VERSION", "__version__", "lazy", "lazy_imports"} == set(typed)
    for name, home in typed.items():
        assert getattr(package, name) is getattr(import_module(home), name)


def test_a_package_shows_what_it_imports_as_itself_and_says_so_where_its_text_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "shown_lazily"
    package.mkdir()
    (package / "words.py").write_text("one, two, three = 1, 2, 3\n")
    text = (
        "from typing import TYPE_CHECKING\nimport transferkit\nif TYPE_CHECKING:\n"
        "    from shown_lazily import words as words\n    from shown_lazily.words import two as two, one as one\n"
        "    from shown_lazily.words import three\n"
        "else:\n    __getattr__, __all__ = transferkit.lazy_imports(__name__)\n"
    )
    (package / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    shown = import_module("shown_lazily")
    assert shown.__all__ == ["one", "two", "words"]
    assert "shown_lazily.words" not in sys.modules
    assert (shown.one, shown.two, shown.words.three) == (1, 2, 3)
    with pytest.raises(AttributeError, match="module 'shown_lazily' has no attribute 'three'"):
        shown.three  # noqa: B018

    bare = tmp_path / "shown_bare"
    bare.mkdir()
    (bare / "__init__.py").write_text(text)
    py_compile.compile(str(bare / "__init__.py"), cfile=str(bare / "__init__.pyc"))
    (bare / "__init__.py").unlink()
    with pytest.raises(ImportError, match="shown_bare was installed without its source"):
        import_module("shown_bare")


@pytest.mark.parametrize(
    "package", sorted({owner(path) for path in PLUGINS if path.relative_to(ROOT).parts[0] == "plugins"})
)
def test_packages_of_plugins_show_what_readers_of_types_see(package: str) -> None:
    own = [one for one in imports(files()[package]) if one.typing and one.name != "Register" and one.name]
    assert import_module(package).__all__ == sorted(one.name for one in own)


def test_the_surface_costs_nothing_to_import() -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'matplotlib', 'timm'}"
    code = f"import sys, {', '.join(SURFACE)}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=[f"{module}.{name}" for module, name in PUBLIC])
def test_what_is_public_is_described_and_annotated(module: str, name: str) -> None:
    found = getattr(import_module(module), name)
    if inspect.ismodule(found):
        assert found.__doc__
    elif inspect.isclass(found):
        described(found, name)
        for inner, method in vars(found).items():
            if not inner.startswith("_") and inspect.isfunction(method):
                described(method, f"{name}.{inner}")
                annotated(method, f"{name}.{inner}")
        if dataclasses.is_dataclass(found):
            assert all(field.type for field in dataclasses.fields(found))
    elif inspect.isfunction(found):
        described(found, name)
        annotated(found, name)
    elif name not in ("hookimpl", "__version__", "API_VERSION"):
        assert is_described_where_it_is_set(module, name), f"{name} stands without a word on what it is"


def described(found: object, name: str) -> None:
    assert (found.__doc__ or "").strip(), f"{name} has no docstring"
    assert not (found.__doc__ or "").startswith(f"{name.rpartition('.')[2]}("), f"{name} has a generated docstring"


def annotated(function: object, name: str) -> None:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    parameters = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    bare = [one.name for one in parameters if one.annotation is one.empty]
    assert not bare, f"{name}: {bare} have no annotation"
    assert signature.return_annotation is not signature.empty, f"{name} does not say what it returns"


def is_described_where_it_is_set(module: str, name: str) -> bool:
    """Whether a constant has a docstring below it or a comment beside it, in the file that sets it."""
    home = {one.name: one.module for one in imports(files()[module]) if one.typing}.get(name, module)
    text = files()[home].read_text(encoding="utf-8")
    body = ast.parse(text).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = {one.id for target in targets if target for one in ast.walk(target) if isinstance(one, ast.Name)}
        if name in names:
            doc = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            lines = text.splitlines()
            return doc or "#" in lines[node.lineno - 1] or lines[node.lineno - 2].startswith("#")
    return False


# -- the shape of the house ----------------------------------------------------------------------------------------


def test_the_core_imports_homes_and_not_the_packages_that_show_them() -> None:
    allowed = {*PACKAGES, "transferkit.cli"}  # the command line is handed `transferkit` as it is
    for module, path in files().items():
        if module.startswith("transferkit.") and module not in allowed:
            shown = [one for one in imports(path) if one.module in PACKAGES]
            assert all(f"{one.module}.{one.name}" in files() for one in shown), (module, shown)


def test_files_of_the_core_import_in_one_direction() -> None:
    """Two files may name each other's types; no more than two, and never when they run."""
    assert [group for group in circles(graph(typing=True)) if len(group) > 2 and of_core(group)] == []
    assert [group for group in circles(graph(typing=False)) if of_core(group)] == []


def of_core(group: list[str]) -> bool:
    return any(module.partition(".")[0] == "transferkit" for module in group)


def test_files_of_plugins_import_in_one_direction() -> None:
    large = [group for group in circles(graph(typing=True)) if len(group) > 2]
    tangled = {module.partition(".")[0] for group in large for module in group if module.startswith("transferkit_")}
    assert tangled == set()


def test_plugins_import_few_modules_of_the_core_and_none_of_each_other() -> None:
    core, siblings = defaultdict(set), set()
    for module, path in files().items():
        if module.startswith("transferkit_"):
            for one in imports(path):
                top = one.module.partition(".")[0]
                if top == "transferkit":
                    core[one.module].add(module)
                elif top.startswith("transferkit_") and top != module.partition(".")[0]:
                    siblings.add((module, one.module))
    assert len(core) <= 12, sorted(core)
    assert siblings == set()


def test_few_files_lie_at_the_top() -> None:
    assert len(list((ROOT / "transferkit").glob("*.py"))) <= 8


ROOMS = [
    "plugins", "recipe", "data", "model", "training", "runs", "analysis", "reporting", "sweeps", "deploy", "serving",
    "testing", "cli",
]  # fmt: skip
GROUND = {"words", "system", "errors", "report", "statistics", "surface", "hookspecs"}
AHEAD = {
    "transferkit.recipe.counting", "transferkit.recipe.files", "transferkit.recipe.stage_images",
}  # fmt: skip
"""Files of `recipe` that look at what a recipe names before anything starts."""


def room(module: str) -> str:
    return f"{module}.".split(".")[1]


def test_rooms_import_rooms_above_them() -> None:
    """In the order of docs/design.md, and the ground; the loose `api` and `__main__` stand on all of them."""
    wrong = []
    for module, others in graph(typing=False).items():
        if not module.startswith("transferkit.") or room(module) in ("api", "__main__"):
            continue
        below = set() if room(module) in GROUND else set(ROOMS[: ROOMS.index(room(module)) + 1])
        if room(module) == "cli":
            below |= {"api", ""}
        if module in AHEAD:
            below |= {"data", "model"}
        if room(module) == "deploy":
            below -= {"plugins", "recipe", "training", "runs", "analysis", "reporting"}
        if module == "transferkit.deploy.place":  # which model folder is meant: needs neither trainer nor recipes
            others = others - {"transferkit.runs.model_place"}
        if module == "transferkit.deploy.plugin_detector":
            below |= {"plugins"}
        wrong += [(module, one) for one in others if room(one) not in below | GROUND]
    assert not wrong, "\n".join(map(str, wrong))


def test_what_looks_ahead_needs_no_torch() -> None:
    ahead = {one for module in AHEAD for one in graph(typing=False)[module] if room(one) in ("data", "model")}
    code = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, *sorted(ahead)], check=True)
