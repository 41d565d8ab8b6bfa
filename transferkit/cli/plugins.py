"""`transferkit plugins`: what is installed, what each plugin offers, and a start for a new one."""

from __future__ import annotations

import json as json_module
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from transferkit.cli.help import VERBS, Verb, Verbs, example
from transferkit.cli.plugin_facts import described, listed
from transferkit.errors import InputError, Problem
from transferkit.plugins.kinds import KINDS
from transferkit.plugins.registry import Component, Registry, installed
from transferkit.system.terminal import console, err, note, print_json, print_table, say
from transferkit.words.names import plain_name
from transferkit.words.suggest import did_you_mean
from transferkit.words.text import printable

plugins = typer.Typer(cls=Verbs, help=VERBS["plugins"].words, epilog=example("plugins"), no_args_is_help=False)

KindName = StrEnum("KindName", {kind: kind for kind in KINDS})  # type: ignore[misc]
REGULARIZER = KindName("regularizer")
KindOption = Annotated[KindName | None, typer.Option("--kind", help="Only this kind.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@plugins.callback(invoke_without_command=True)
def without_a_verb(
    context: typer.Context,
    kind: KindOption = None,
    json: JsonOption = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed to load.")] = False,
) -> None:
    """List installed plugins with their kind, origin and hooks, and those that failed to load."""
    if context.invoked_subcommand is None:
        list_plugins(kind, json, failed)


@plugins.command("list", cls=Verb)
def list_plugins(
    kind: KindOption = None,
    json: JsonOption = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed to load.")] = False,
) -> None:
    """List installed plugins with their kind, origin and hooks, and those that failed to load."""
    rows = facts(installed(), kind.value if kind else None, failed)
    if json:
        print_json(rows)
        return
    if not rows:
        note("no plugin failed to load" if failed else "no plugin is installed")
        return
    columns = ["name", "kind", "distribution", "version", "hooks", "status"]
    print_table(columns, [[_words(row[column]) for column in columns] for row in rows])


def facts(registry: Registry, kind: str | None = None, failed: bool = False) -> list[dict[str, Any]]:
    """One entry per component, by kind and name, then one per plugin that failed to load or offers nothing."""
    components = sorted(registry.components.items(), key=lambda item: (KINDS.index(item[0][0]), item[0][1]))
    rows = [listed(one.owner, name, one) for (of, name), one in components if kind in (None, of)]
    if kind is None:
        rows += [listed(failure.owner, failure.owner.plugin, None, failure.error) for failure in registry.failures]
    return [row for row in rows if not failed or row["status"] != "ok"]


def find(name: str, kind: str | None, registry: Registry) -> list[Component]:
    """The components of that name. Raises InputError with a suggestion, or with the reason why it is missing."""
    found = registry.find(name, kind)
    if found:
        return found
    for failure in registry.failures:
        if plain_name(name) == failure.owner.plugin:
            raise InputError(f"the plugin {failure}")
    names = {known for of, known in registry.components if kind in (None, of)}
    what = kind or "plugin"
    raise InputError(Problem("", f'no {what} called "{name}" is installed', did_you_mean(name, names)))


@plugins.command(cls=Verb)
def show(
    name: Annotated[str, typer.Argument(help="The name that recipes use.", show_default=False)],
    kind: KindOption = None,
    json: JsonOption = False,
) -> None:
    """Show a plugin's options with ranges and defaults, what its hooks ask for, and its method card."""
    found = [described(component) for component in find(name, kind.value if kind else None, installed())]
    if json:
        print_json(found if len(found) > 1 else found[0])
        return
    for facts_of_one in found:
        _print_facts(facts_of_one)


def _print_facts(one: dict[str, Any]) -> None:
    say(f"{one['name']}  {one['kind']}, {one['distribution']} {one['version']}, {one['module']}.{one['class']}")
    if one["doc"]:
        say()
        say(one["doc"])
    say(f"\nOptions ({one['core_options']})")
    if one["options"]:
        columns = ["option", "type", "default", "range", "description"]
        print_table(columns, [_option(option) for option in one["options"]])
    else:
        say("none of its own")
    say("\nHooks and what they ask for")
    print_table(
        ["hook", "arguments"], [[hook, ", ".join(names) or "nothing"] for hook, names in one["requests"].items()]
    )
    if one["metrics"]:
        say("\nMetrics")
        columns = ["metric", "what it is", "unit", "more is", "interval", "answers"]
        print_table(columns, [_metric(metric) for metric in one["metrics"]])
    if one["card"]:
        say()
        _print_card(one["card"])


def _option(option: dict[str, Any]) -> list[str]:
    default = json_module.dumps(option["default"]) if "default" in option else "needed" if option["required"] else ""
    return [option["name"], option["type"], default, option["range"], option["description"]]


def _metric(metric: dict[str, Any]) -> list[str]:
    named = metric["name"] if metric["name"] != metric["key"] else ""
    interval = "yes" if metric["interval"] else "no"
    return [metric["key"], named, metric["unit"], metric["more"], interval, metric["answers"]]


def _print_card(text: str) -> None:
    if console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(printable(text)))
    else:
        say(text.rstrip())


@plugins.command(cls=Verb)
def schema(
    name: Annotated[str, typer.Argument(help="The name that recipes use.", show_default=False)],
    kind: KindOption = None,
) -> None:
    """Print the JSON Schema of a plugin's options."""
    found = find(name, kind.value if kind else None, installed())
    if len(found) > 1:
        listed_ones = ", ".join(f"{one.kind} {one.full_name}" for one in found)
        raise InputError(f'"{name}" is the name of several plugins ({listed_ones}); say which, or --kind')
    print_json(found[0].options.model_json_schema())


@plugins.command(cls=Verb)
def new(
    name: Annotated[str, typer.Argument(help="Small letters, digits, underscores.", show_default=False)],
    kind: Annotated[KindName, typer.Option("--kind", help="What it is.")] = REGULARIZER,
    out: Annotated[Path | None, typer.Option(help="The new folder; default: ./transferkit-NAME.")] = None,
) -> None:
    """Write a complete plugin package of any kind: the plugin, its registration, its card, a recipe and a test."""
    from transferkit.cli.plugin_template import write_plugin

    known = installed().find(name.replace("-", "_"))
    if known:
        raise InputError(f'the name "{name}" is taken by a {known[0].kind} of {known[0].owner}; choose another')
    folder = write_plugin(name, out, next(one for one in KINDS if one == kind.value))
    say(str(folder))
    err.print("Next:", soft_wrap=True)
    note(f"  pip install -e {folder}")
    note(f"  python -m pytest {folder}")
    note(f"  transferkit plugins show {name.replace('-', '_')}")


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return "–" if value is None else str(value)
