"""commands.md, and start.md for the first hour, have every verb with every option, and no other."""

from __future__ import annotations

import os
import re

import pytest
import typer.main

from transferkit import errors
from transferkit.cli import BUILT_IN, complete
from transferkit.cli.verbs import opened

from .pages import ROOT, blocks, page, sections

SECTIONS = sections(page("commands")) | sections(page("start"))


def commands(named, prefix=""):
    """{verb: command}, sub-verbs included."""
    found = {}
    for name, command in named.items():
        found[f"{prefix}{name}"] = command
        if hasattr(command, "commands"):
            found |= commands(command.commands, f"{prefix}{name} ")
    return found


# plugins that ship have verbs too
VERBS = commands(typer.main.get_command(complete()).commands | {name: opened(name) for name in BUILT_IN})


def test_every_verb_has_a_section_and_no_other_has():
    assert {heading.strip("`") for heading in SECTIONS if heading.startswith("`")} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_documented_and_no_other(verb):
    text = "\n".join(line for line in SECTIONS[f"`{verb}`"].splitlines() if not line.startswith("$ "))
    said = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text.replace("--nproc_per_node", "")))
    given = {option for item in VERBS[verb].params for option in item.opts if option.startswith("--")} - {"--help"}
    assert given - said - {"--json", "--quiet"} == set()
    assert said - given == set(), "options that do not exist"
    assert given & {"--json", "--quiet"} <= said


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_is_of_the_verb_with_options_it_has(verb):
    (block,) = blocks(SECTIONS[f"`{verb}`"] + "\n", "console")
    call = block.splitlines()[0].removeprefix("$ transferkit ")
    assert call.startswith(verb)
    options = {option for item in VERBS[verb].params for option in item.opts}
    assert set(re.findall(r"--[a-z-]+", call)) <= options


def test_every_exit_code():
    table = SECTIONS["Exit codes"]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    assert all(re.search(rf"^\| {kind.exit_code} \|", table, re.MULTILINE) for kind in kinds)


def test_every_environment_variable():
    found = set()
    for folder, _, files in os.walk(ROOT / "transferkit"):
        for name in files:
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    found |= set(re.findall(r'"(TRANSFERKIT_[A-Z_]+)"', file.read()))
    assert found and found <= set(re.findall(r"TRANSFERKIT_[A-Z_]+", SECTIONS["Environment variables"]))
