"""The verbs of plugins: a broken one, or one whose name is taken, costs only itself."""

from __future__ import annotations

import signal
import types
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

import transferkit
from transferkit.cli.verbs import add_verbs, verbs_of
from transferkit.errors import InputError
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry
from transferkit.system.signals import Stopped


def built_in() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def run() -> None:
        """The one that is built in."""
        typer.echo("built in")

    app.add_typer(typer.Typer(), name="plugins")
    return app


def complete(**hooks: Callable[[typer.Typer], object]) -> tuple[typer.Typer, Registry]:
    registry = Registry()
    for name, hook in hooks.items():
        module = types.ModuleType(name)
        module.transferkit_commands = _implementation(hook)  # type: ignore[attr-defined]
        registry.load(module, Owner(name, f"{name}-dist", "1"))
    app = built_in()
    add_verbs(app, registry, verbs_of(app))
    return app, registry


def _implementation(hook: Callable[[typer.Typer], object]) -> Callable[[typer.Typer], object]:
    @transferkit.hookimpl
    def transferkit_commands(cli: typer.Typer) -> None:
        hook(cli)

    return transferkit_commands


def says(text: str, *names: str) -> Callable[[typer.Typer], None]:
    def hook(cli: typer.Typer) -> None:
        for name in names:
            cli.command(name)(lambda: typer.echo(text))

    return hook


def test_verbs_and_groups_are_added():
    def group(cli: typer.Typer) -> None:
        inner = typer.Typer()
        says("inner", "one", "two")(inner)
        cli.add_typer(inner, name="many")

    app, registry = complete(a=says("hello", "greet"), b=group)
    assert CliRunner().invoke(app, ["greet"]).stdout == "hello\n"
    assert CliRunner().invoke(app, ["many", "two"]).stdout == "inner\n"
    assert CliRunner().invoke(app, ["run"]).stdout == "built in\n" and not registry.failures


def raises(cli: typer.Typer) -> None:
    raise SystemExit(4)


def unreadable(cli: typer.Typer) -> None:
    says("fine", "fine")(cli)

    @cli.command()
    def odd(value: int | str) -> None: ...


@pytest.mark.parametrize("name", ["run", "plugins"])
def test_no_built_in_verb_is_taken_over(name):
    app, registry = complete(a=says("mine", name, "other"))
    assert CliRunner().invoke(app, ["other"]).stdout == "mine\n"
    assert CliRunner().invoke(app, ["run"]).stdout == "built in\n"
    assert [str(one) for one in registry.failures] == [
        f'a (a-dist 1): its verb "{name}" is left out: transferkit has one of that name'
    ]


def test_what_cannot_be_added_costs_only_itself():
    app, registry = complete(a=raises, b=unreadable, c=says("hello", "greet"))
    assert CliRunner().invoke(app, ["fine"]).stdout == "fine\n"
    assert CliRunner().invoke(app, ["greet"]).stdout == "hello\n"
    assert [one.owner.plugin for one in registry.failures] == ["a", "b"]


def test_a_verb_of_two_plugins_is_refused_where_it_is_used():
    app, registry = complete(a=says("a", "greet"), b=says("b", "greet", "other"))
    assert CliRunner().invoke(app, ["other"]).stdout == "b\n"
    for arguments in (["greet"], ["greet", "x", "--y"]):
        error = CliRunner().invoke(app, arguments).exception
        assert isinstance(error, InputError) and "a-dist 1 and b-dist 1" in str(error)
    assert not registry.failures


def test_a_signal_while_verbs_are_added_is_no_failure_of_the_plugin():
    def stopped(cli: typer.Typer) -> None:
        raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        complete(slow=stopped)
