import json
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from pydantic import Field

from transferkit.cli import plugins as verb
from transferkit.cli.plugin_facts import card, described
from transferkit.errors import InputError
from transferkit.plugins.distributions import Failure, Owner
from transferkit.plugins.registry import Registry

OWNER = Owner("mine", "my-dist", "1.2")


@dataclass
class Example:
    """What it does."""

    k: Annotated[int, Field(ge=1, lt=9, description="how many")]
    mode: Literal["a", "b"] = "a"
    layers: list[str] | None = None
    table: dict[str, float] = field(default_factory=lambda: {"x": 1.0})

    def penalty(self, features, labels):
        return features.mean()

    def taps(self, model):
        return []


class Watch:
    def step_end(self):
        return None


@pytest.fixture
def registry(monkeypatch):
    registry = Registry()
    registry.add("observer", "example", Watch, OWNER)
    registry.add("regularizer", "example", Example, OWNER)
    registry.add("regularizer", "gone", "no_such_module:Gone", Owner("gone", "gone-dist", "0"))
    registry.failures.append(Failure(Owner("broken", "broken-dist", "3"), RuntimeError("boom")))
    monkeypatch.setattr(verb, "installed", lambda: registry)
    return registry


def test_lists_every_component_and_failure(cli, registry):
    rows = json.loads(cli("plugins", "--json").stdout)
    assert [(row["kind"], row["name"]) for row in rows] == [
        ("regularizer", "example"),
        ("regularizer", "gone"),
        ("observer", "example"),
        (None, "broken"),
    ]
    assert rows[0]["hooks"] == ["taps", "penalty"] and rows[0]["status"] == "ok"
    assert rows[0]["distribution"] == "my-dist" and rows[0]["version"] == "1.2"
    assert rows[1]["status"].startswith("failed: ModuleNotFoundError")
    assert rows[3]["status"] == "failed: RuntimeError: boom"


def test_list_can_be_narrowed(cli, registry):
    assert [row["name"] for row in json.loads(cli("plugins", "list", "--kind", "observer", "--json").stdout)] == [
        "example"
    ]
    assert [row["name"] for row in json.loads(cli("plugins", "--failed", "--json").stdout)] == ["gone", "broken"]
    assert cli("plugins", "--kind", "nonsense").exit_code == 2


def test_the_table_has_one_line_each(cli, registry):
    lines = cli("plugins").stdout.splitlines()
    assert lines[0].split() == ["name", "kind", "distribution", "version", "hooks", "status"]
    assert len(lines) == 5


def test_nothing_failed(cli, monkeypatch):
    monkeypatch.setattr(verb, "installed", Registry)
    assert "no plugin failed to load" in cli("plugins", "--failed").stderr


def test_shows_options_requests_and_doc(cli, registry):
    found = json.loads(cli("plugins", "show", "example", "--kind", "regularizer", "--json").stdout)
    assert found["doc"] == "What it does."
    assert found["requests"] == {"taps": ["model"], "penalty": ["features", "labels"]}
    assert found["options"] == [
        {"name": "k", "type": "whole number", "required": True, "range": "≥ 1, < 9", "description": "how many"},
        {"name": "mode", "type": "a | b", "required": False, "range": "", "description": "", "default": "a"},
        {
            "name": "layers",
            "type": "list of text | null",
            "required": False,
            "range": "",
            "description": "",
            "default": None,
        },
        {
            "name": "table",
            "type": "mapping to number",
            "required": False,
            "range": "",
            "description": "",
            "default": {"x": 1.0},
        },
    ]


def test_show_prints_all_kinds_of_a_name(cli, registry):
    text = cli("plugins", "show", "example").stdout
    assert "example  regularizer, my-dist 1.2" in text and "example  observer, my-dist 1.2" in text
    assert "needed" in text and "≥ 1, < 9" in text and "none of its own" in text


def test_unknown_and_broken_names(cli, registry):
    with pytest.raises(InputError, match='did you mean "example"'):
        cli("plugins", "show", "exampel")
    with pytest.raises(InputError, match="boom"):
        cli("plugins", "show", "broken")


def test_schema_is_json_schema(cli, registry):
    with pytest.raises(InputError, match="--kind"):
        cli("plugins", "schema", "example")
    found = json.loads(cli("plugins", "schema", "example", "--kind", "regularizer").stdout)
    assert found["required"] == ["k"] and found["additionalProperties"] is False
    assert found["properties"]["k"]["minimum"] == 1


def test_the_card_lies_in_the_package(tmp_path, monkeypatch):
    package = tmp_path / "carded_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("class P:\n    def penalty(self, features):\n        return 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry()
    registry.add("regularizer", "carded", "carded_plugin:P", OWNER)
    component = registry.components["regularizer", "carded"]
    assert card(component) is None
    (package / "README.md").write_text("# Carded")
    assert described(component)["card"] == "# Carded"


def test_built_in_plugins_are_listed_and_shown(cli):
    names = {row["name"] for row in json.loads(cli("plugins", "--json").stdout)}
    assert {"bss", "delta", "l2", "l2_sp"} <= names
    assert "penalty" in cli("plugins", "show", "bss").stdout


def test_shows_what_an_analyzer_measures(cli):
    found = json.loads(cli("plugins", "show", "retention", "--json").stdout)
    assert found["metrics"][0] == {
        "key": "top1_source", "name": "top-1 of the source model", "unit": "share", "more": "neither",
        "answers": "How many source images did the source model name right?", "interval": True,
    }  # fmt: skip
    text = " ".join(cli("plugins", "show", "retention").stdout.split())
    assert "Metrics" in text and "how many source images" in text.lower()
    assert json.loads(cli("plugins", "show", "l2_sp", "--json").stdout)["metrics"] == []
