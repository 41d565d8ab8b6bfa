"""Sphinx: Markdown pages, and the recipe reference written from the schema while building. Needs no network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from transferkit import __version__

sys.path.insert(0, str(Path(__file__).parent))
import reference

project = "transferkit"
version = release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"transferkit {__version__}"


def _fill(app: Any, docname: str, source: list[str]) -> None:
    if docname == "recipes":
        source[0] = source[0].replace(reference.MARKER, reference.tables())


def setup(app: Any) -> None:
    """Put the reference into recipes.md."""
    app.connect("source-read", _fill)
