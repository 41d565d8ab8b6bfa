"""What the program tells people to write or to type is what recipes and the command line accept."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from transferkit.cli import BUILT_IN
from transferkit.cli.verbs import opened
from transferkit.plugins.kinds import KINDS
from transferkit.plugins.registry import installed
from transferkit.recipe import schema, uses
from transferkit.recipe.base import Section

HOME = Path(__file__).resolve().parents[2]
SETTING = re.compile(r"`([a-z_]+): [^`]+`")
COMMAND = re.compile(r"transferkit ([a-z-]+)((?: [^`'\";,]*)?)")


@cache
def texts():
    """(file, text) of everything that the code could say; what is filled in stands as X."""
    found = []
    for path in [*HOME.glob("transferkit/**/*.py"), *HOME.glob("plugins/*/*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node] if id(node) not in inner else []
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts
                           if isinstance(part, ast.Constant | ast.FormattedValue))  # fmt: skip
            if text:
                found.append((path.relative_to(HOME), text))
    return found


@cache
def keys():
    """Every key of a recipe, and every option of an installed plugin."""
    sections = [one for module in (schema, uses) for one in vars(module).values() if isinstance(one, type)]
    found = {key for one in sections if issubclass(one, Section) for key in one.model_fields}
    registry = installed()
    for kind in KINDS:
        for name in registry.names(kind):
            found |= set(registry.get(kind, name).options.model_fields)
    return found


def test_settings_in_sentences_are_settings_of_recipes():
    said = [(path, key) for path, text in texts() for key in SETTING.findall(text)]
    assert len(said) > 5
    assert [(str(path), key) for path, key in said if key not in keys()] == []


def test_commands_in_sentences_are_commands():
    verbs = {name: opened(name) for name in BUILT_IN}
    checked = 0
    for path, text in texts():
        for verb, rest in COMMAND.findall(text):
            if verb not in verbs:
                continue  # "transferkit can", "transferkit has"
            checked += 1
            command = verbs[verb]
            subverbs = getattr(command, "commands", {})
            inner = next((subverbs[word] for word in rest.split()[:1] if word in subverbs), command)
            known = {option for one in (command, inner) for param in one.params for option in param.opts} | {"--help"}
            unknown = [option for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest) if option not in known]
            assert not unknown, f"{path}: transferkit {verb}{rest}"
    assert checked > 10


@pytest.mark.parametrize(("text", "found"), [("write `k: 1` now", ["k"]), ("a `key` alone", [])])
def test_what_counts_as_a_setting(text, found):
    assert SETTING.findall(text) == found
