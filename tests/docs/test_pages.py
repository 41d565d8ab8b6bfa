"""All pages: reachable, with links that lead somewhere, and a build without warnings where Sphinx is installed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .pages import DOCS, PAGES, blocks, page, sections


def test_every_page_is_in_the_table_of_contents():
    (contents,) = re.findall(r"^```\{toctree\}\n(.*?)^```", page("index"), re.MULTILINE | re.DOTALL)
    assert {path.stem for path in PAGES} - {"index"} == set(contents.split()) - {":hidden:"}


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
