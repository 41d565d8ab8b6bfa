"""docs/transferkit.schema.json, to which the shipped recipes point, is what `transferkit schema` writes."""

from __future__ import annotations

import json
import os
import re
import tomllib

import pytest

from transferkit.plugins.registry import discover
from transferkit.recipe.json_schema import recipe_schema

from .pages import DOCS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SHIPPED = ",".join(sorted(PROJECT["entry-points"]["transferkit"]))
MADE_BY = f"TRANSFERKIT_PLUGINS={SHIPPED} transferkit schema --out docs/transferkit.schema.json"


def test_is_up_to_date(monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_PLUGINS", SHIPPED)
    monkeypatch.delenv("TRANSFERKIT_DISABLE_PLUGINS", raising=False)
    content = json.dumps(recipe_schema(discover()), indent=2, ensure_ascii=False) + "\n"
    written = (DOCS / "transferkit.schema.json").read_text(encoding="utf-8")
    assert written == content, f"docs/transferkit.schema.json is out of date; run\n  {MADE_BY}"


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda path: path.name)
def test_modelines_point_to_it(recipe):
    found = re.match(r"# yaml-language-server: \$schema=(\S+)", recipe.read_text(encoding="utf-8"))
    if found:
        assert os.path.normpath(recipe.parent / found[1]) == str(DOCS / "transferkit.schema.json")
    else:
        assert "Not a recipe by itself" in recipe.read_text(encoding="utf-8")
