"""training.md has every warning that training may give, and every choice of the keys it explains."""

from __future__ import annotations

import ast
import math

import pytest

from transferkit.recipe import load_recipe
from transferkit.recipe.checks import SCHEDULES

from .pages import ROOT, blocks, code, page, sections

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


def test_the_chain_is_a_valid_recipe(tmp_path):
    (text,) = (block for block in blocks(page("chains"), "yaml") if "stages:" in block)
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    recipe = load_recipe(tmp_path / "recipe.yaml").recipe
    assert [(stage.name, stage.start, stage.keep) for stage in recipe.stages] == [
        ("pretrain", "scratch", "last"),
        ("spoil", "pretrain", "last"),
        ("relearn", "spoil", "last"),
    ]
    first, second, _ = recipe.stages
    assert second.carry_on == ["optimizer"] and second.evaluate_at[0] == 0
    share = (1 + math.cos(math.pi * first.epochs / (first.epochs + second.epochs))) / 2
    said = f"after {first.epochs} of {first.epochs + second.epochs} epochs it goes on at {share:.0%} of"
    assert said.replace("%", " %") in sections(page("chains"))["Chains of stages"]


def test_what_the_runner_warns_of_is_explained():
    source = (ROOT / "transferkit" / "runs" / "runner.py").read_text(encoding="utf-8")
    for how in ("ridge", "source"):
        sentence = f"no epoch beat the {how} head it started with: the start was kept"
        assert sentence.replace(how, "{stage.head_init}") in source
        assert sentence in sections(page("training"))["Warnings"]
