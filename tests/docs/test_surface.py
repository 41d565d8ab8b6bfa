"""The page of what plugins may import lists what the modules list."""

from __future__ import annotations

import re
from importlib import import_module

from tests.test_surface import SURFACE

from .pages import page


def test_the_page_lists_what_the_modules_list():
    parts = re.split(r"^## `([\w.]+)`$", page("surface"), flags=re.MULTILINE)
    shown = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(shown) == set(SURFACE)
    for module, text in shown.items():
        cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        names = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
        assert sorted(names) == sorted(import_module(module).__all__), module
