"""training.md has every warning that training may give, and every choice of the keys it explains."""

from __future__ import annotations

import ast

import pytest

from transferkit.recipe.stage_checks import SCHEDULES

from .pages import ROOT, code, page, sections

SOURCES = sorted((ROOT / "transferkit" / "training").glob("*.py"))


def warnings():
    """The longest fixed part of every text given to a function called `warn`."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "warn":
                parts = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
                fixed = [part.strip() for part in parts if isinstance(part, str)]
                if fixed:
                    yield max(fixed, key=len)


def test_warnings_are_found():
    assert len(list(warnings())) >= 12


@pytest.mark.parametrize("text", list(warnings()))
def test_every_warning_is_explained(text):
    assert text in sections(page("training"))["Warnings"]


def test_every_schedule_is_named():
    assert set(SCHEDULES) - {"none"} <= code(page("training"))
