"""authors.md names every kind with its hooks and its place in recipes, and all that `session` hands out."""

from __future__ import annotations

import re

from transferkit.cli.plugin_template import parts_of
from transferkit.plugins.kinds import KINDS
from transferkit.plugins.registry import RUN_HOOKS
from transferkit.recipe.places import PLACES
from transferkit.training.lent import GIVEN

from .pages import code, page, sections

SECTIONS = dict(sections(page("authors")))


def rows(section):
    return [line.strip("| ").split(" | ") for line in SECTIONS[section].splitlines() if line.startswith("| `")]


def test_every_kind_with_its_hooks_and_place():
    found = {kind.strip("`"): (hooks, place) for kind, hooks, place in rows("Kinds")}
    assert set(found) == set(KINDS)
    keys = {place.kind: place.key for place in PLACES}
    for kind, (hooks, place) in found.items():
        named = re.findall(r"`(\w+)`", hooks)
        assert named and set(named) <= set(RUN_HOOKS)
        assert any(f"def {hook}(self" in parts_of(kind)["module"] for hook in named), "the template has another hook"
        assert f"`{keys.get(kind, 'detectors')}`" in place


def test_all_that_session_hands_out():
    assert set(GIVEN) <= code(SECTIONS["What session hands out"]) | {
        name.partition("(")[0] for name in code(SECTIONS["What session hands out"])
    }
