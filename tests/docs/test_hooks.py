"""hooks.md has every hook with every argument, and its examples are what the core accepts."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest
import typer

from transferkit.hookspecs import Declared, InstalledHooks
from transferkit.plugins.distributions import Owner
from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.kinds import KINDS
from transferkit.plugins.registry import RUN_HOOKS, Register, Registry
from transferkit.testing import check_plugin

from .pages import blocks, classes, code, defined, page, sections

SECTIONS = {heading.strip("`"): text for heading, text in sections(page("hooks")).items() if heading.startswith("`")}
INSTALLED_HOOKS = {name: hook for name, hook in vars(InstalledHooks).items() if not name.startswith("_")}
HOOKS = INSTALLED_HOOKS | RUN_HOOKS


def example(hook):
    """The section's one Python block."""
    (block,) = blocks(SECTIONS[hook], "python")
    return block


def test_every_hook_has_a_section_and_no_other_has():
    assert set(SECTIONS) == set(HOOKS), "docs/hooks.md and transferkit/hookspecs.py differ"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_argument_is_documented(hook):
    words = {word for text in code(SECTIONS[hook]) for word in re.findall(r"\w+", text)}
    missing = [name for name in inspect.signature(HOOKS[hook]).parameters if name != "self" and name not in words]
    assert not missing, f"docs/hooks.md, section {hook}, says nothing of {', '.join(missing)}"


@pytest.mark.parametrize("hook", HOOKS)
def test_says_when_and_what_it_returns(hook):
    assert "**When**" in SECTIONS[hook] and "**Returns**" in SECTIONS[hook]


@pytest.mark.parametrize("hook", RUN_HOOKS)
def test_the_example_implements_the_hook_and_keeps_its_promises(hook):
    (cls,) = classes(example(hook))
    assert callable(getattr(cls, hook))
    check_signatures(cls)
    check_plugin(cls, **({"source": "tiny"} if hook in ("streams", "mix") else {}))


def test_the_registration_registers():
    registry = Registry()
    defined(example("transferkit_register"))["transferkit_register"](
        Register(registry, Owner("bss", "transferkit", "0"))
    )
    assert registry.names("regularizer") == ["bss"]


def test_the_command_is_added():
    cli = typer.Typer()
    defined(example("transferkit_commands"))["transferkit_commands"](cli)
    assert [command.callback.__name__ for command in cli.registered_commands] == ["hello"]


def test_every_kind_is_named():
    assert set(KINDS) <= code(SECTIONS["transferkit_register"])


def test_everything_that_a_class_may_declare_is_listed():
    table = sections(page("plugins"))["What a class declares"]
    named = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert sorted(named) == sorted(one.name for one in dataclasses.fields(Declared))
