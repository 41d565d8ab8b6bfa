"""All pages: reachable, with links that lead somewhere, and a build without warnings where Sphinx is installed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from inspect import ismodule

import pytest

from tests.test_surface import SURFACE

from .pages import DOCS, PAGES, blocks, page, sections
from .test_commands import VERBS


def test_every_page_is_in_the_table_of_contents():
    groups = re.findall(
        r"^```\{toctree\}\n:caption: [^\n]+\n:hidden:\n\n(.*?)^```", page("index"), re.MULTILINE | re.DOTALL
    )
    listed = [name for names in groups for name in names.split()]
    assert sorted(listed) == sorted({path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES} - {"index"})
    assert max(len(names.split()) for names in groups) <= 9 and len(groups) > 4


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name) if name else path
        assert there.is_file(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in map(slug, sections(there.read_text(encoding="utf-8"))), f"{path.name} links to {target}"


def slug(heading: str) -> str:
    """The anchor that GitHub and MyST give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


LOOKED_UP = ("reproduction.md", "hooks.md")  # by row, by hook


@pytest.mark.parametrize("path", [page for page in PAGES if page.name not in LOOKED_UP], ids=lambda path: path.name)
def test_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").split()) <= 2500


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_python_blocks_compile(path):
    for block in blocks(path.read_text(encoding="utf-8"), "python"):
        compile(block, path.name, "exec", dont_inherit=True)


def test_builds_without_warnings(tmp_path):
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "-d", str(tmp_path / "cache")]
    done = subprocess.run([*command, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "batch_size" in (tmp_path / "html" / "recipes.html").read_text(encoding="utf-8")
    assert "whole number ≥ 1" in (tmp_path / "html" / "recipes.html").read_text(encoding="utf-8")
    written = "".join(
        (tmp_path / "html" / f"{name}.html").read_text(encoding="utf-8") for name in ("api", "api_plugins")
    )
    anchors = set(re.findall(r'id="(transferkit\.[\w.]+)"', written))
    modules = [(module, name) for module in SURFACE for name in import_module(module).__all__]
    shown = {f"{module}.{name}" for module, name in modules if not ismodule(getattr(import_module(module), name))}
    assert shown - anchors == set()
    assert "transferkit.LoadedModel.predict" in anchors
    assert 'href="#transferkit.run"' in written and "Run a recipe: a file, or its content as a dict" in written


def test_pictures_are_small_shown_and_described():
    shown = [
        (path.parent / target).resolve()
        for path in [*PAGES, DOCS.parent / "README.md"]
        for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
        if len(alt.split()) > 4 or pytest.fail(f"{path.name}: {target} is not described")
    ]
    pictures = sorted((DOCS / "pictures").iterdir())
    assert pictures == sorted(set(shown))
    assert all(0 < picture.stat().st_size < 150_000 for picture in pictures)


CALLS = [
    (path.name, words)
    for path in PAGES
    for block in blocks(path.read_text(encoding="utf-8"), "console")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("$ transferkit ")
    for words in [shlex.split(line.removeprefix("$ transferkit "), comments=True)]
]


@pytest.mark.parametrize(("name", "words"), CALLS, ids=[f"{name}-{' '.join(words)[:50]}" for name, words in CALLS])
def test_every_command_is_one_with_options_it_has(name, words):
    verb = next(" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in VERBS or words[0].startswith("-"))
    known = {option for item in VERBS[verb].params for option in item.opts} if verb in VERBS else {words[0]}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= known | {"--help", "--install-completion"}
