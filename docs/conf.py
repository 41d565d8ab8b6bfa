"""Sphinx: Markdown pages; recipe reference and API are written from schema and docstrings. Needs no network."""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from transferkit import __version__

sys.path.insert(0, str(Path(__file__).parent))
import reference

project = "transferkit"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100
html_theme = "furo"
html_title = f"transferkit {__version__}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
KINDS = ("function", "class", "data")
API = re.compile(r"<!-- api: (.*) -->")


def _fill(app: Any, docname: str, source: list[str]) -> None:
    if docname == "recipes":
        source[0] = source[0].replace(reference.MARKER, reference.tables())
    source[0] = API.sub(lambda found: "\n\n".join(map(_listed, found[1].split())), source[0])


def _listed(module: str) -> str:
    """Every name of a module's `__all__`, by autodoc: functions first."""
    home = import_module(module)
    lines = [f".. currentmodule:: {module}", ""]
    names = [
        name for name in home.__all__ if not inspect.ismodule(getattr(home, name))
    ]  # which have their own sections
    for name in sorted(names, key=lambda name: KINDS.index(_kind(getattr(home, name)))):
        kind = _kind(getattr(home, name))
        lines += [f".. auto{kind}:: {name}", *(["   :members:"] if kind == "class" else []), ""]
    return "\n".join([f"## `{module}`", "", "```{eval-rst}", *lines, "```"])


def _kind(found: Any) -> str:
    return "function" if inspect.isroutine(found) else "class" if inspect.isclass(found) else "data"


def _as_rst(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code in single backticks; what is laid out in columns stays as it is."""
    text = "" if what == "data" else "\n".join(lines)  # a constant's would be that of its type
    paragraphs = [_paragraph(part) for part in re.split(r"\n\s*\n", text.strip("\n"))]
    lines[:] = "\n\n".join(paragraphs).splitlines()


def _paragraph(text: str) -> str:
    if re.search(r"^ +\S|\S {2,}\S", text, flags=re.MULTILINE):
        return "::\n\n" + "\n".join(f"    {line}" for line in text.splitlines())
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(f"`{part}`" if part.startswith("`") else re.sub(r"([*_|\\])", r"\\\1", part) for part in parts)


def setup(app: Any) -> None:
    """Put the references into their pages."""
    app.connect("source-read", _fill)
    app.connect("autodoc-process-docstring", _as_rst)
