"""The verbs: those of transferkit, each imported when it is named; and those of plugins, where a broken one costs only
itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.main import get_command_name, get_group

from transferkit.cli.help import VERBS, Verb, Verbs, example
from transferkit.errors import InputError
from transferkit.plugins.contained import contained
from transferkit.plugins.distributions import Failure, Owner
from transferkit.plugins.registry import Registry
from transferkit.system.signals import TO_STOP
from transferkit.words.suggest import closest

ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class AllVerbs(Verbs):
    """The verbs of the table and of plugins; one of the table is imported when it is named, and before only listed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As Typer's, for which the named verb takes the place of what lists it."""
        if args and args[0] in VERBS:
            self.commands[args[0]] = opened(args[0])
        return super().resolve_command(ctx, args)


def list_verbs(app: typer.Typer) -> None:
    """Add the verbs of the table as they are listed: name and words, without options and what they do."""
    for name, listed in VERBS.items():
        app.command(name, short_help=listed.words)(_listed)


def _listed() -> None:
    """In the place of a verb that nobody named."""


def opened(verb: str) -> Any:
    """The command of a verb of the table, from its file: what bears the verb's name there, a function or a group."""
    found, own = getattr(import_module(f"transferkit.cli.{verb}"), verb), typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        own.add_typer(found, name=verb)
    else:
        own.command(verb, cls=Verb, epilog=example(verb))(found)
    return get_group(own).commands[verb]


def verbs_of(app: typer.Typer) -> set[str]:
    """The names of its verbs and groups of verbs."""
    named = {one.name or get_command_name(one.callback.__name__) for one in app.registered_commands if one.callback}
    return named | {str(one.name) for one in app.registered_groups}


def usage_hint(message: str, verbs: Set[str]) -> str | None:
    """What was probably meant by an unknown verb, or by an option that is a key of recipes: `--epochs 3`."""
    if found := re.search(r"No such command '(.*)'", message):
        match = closest(found[1], verbs)
        return f'Did you mean "{match}"?' if match else None
    if found := re.search(r"No such option:? '?--([\w-]+)", message):
        from transferkit.recipe.schema import Recipe, Stage

        key = found[1].replace("-", "_")
        for match in (key, closest(key, [*Stage.model_fields, *Recipe.model_fields])):
            for section, place in ((Stage, "stages.NAME."), (Recipe, "")):
                if match in section.model_fields:
                    return f"Values of a recipe are given as key=value: {place}{match}=…"
    return None


def add_verbs(app: typer.Typer, registry: Registry, built_in: Set[str]) -> None:
    """Add what plugins offer in `transferkit_commands`; what goes wrong is recorded in `registry.failures`.

    No plugin takes the name of a verb in `built_in`; one that two plugins offer is refused where it is used.
    """
    offered: dict[str, list[tuple[Owner, typer.Typer]]] = {}
    for name, module in registry.manager.list_name_plugin():
        owner, given = registry.owners[name], typer.Typer()
        others = {other for _, other in registry.manager.list_name_plugin() if other is not module}
        with _recorded(registry, owner):
            registry.manager.subset_hook_caller("transferkit_commands", others)(cli=given)
        for own in _single(given):
            with _recorded(registry, owner):
                (verb,) = get_group(own).commands  # made once here: a function that Typer cannot read is found out
                if verb in built_in:
                    raise InputError(f'its verb "{verb}" is left out: transferkit has one of that name')
                offered.setdefault(verb, []).append((owner, own))
    for verb, found in offered.items():
        if len(found) > 1:
            app.command(verb, context_settings=ANYTHING)(_ambiguous(verb, [owner for owner, _ in found]))
            continue
        own = found[0][1]
        app.registered_commands += own.registered_commands
        app.registered_groups += own.registered_groups


@contextmanager
def _recorded(registry: Registry, owner: Owner) -> Iterator[None]:
    try:
        with contained():
            yield
    except TO_STOP:
        raise
    except BaseException as error:  # whatever a stranger's function raises must not stop the command line
        registry.failures.append(Failure(owner, error))


def _single(given: typer.Typer) -> Iterator[typer.Typer]:
    """Each verb, and each group of verbs, in a command line of its own."""
    for kind in ("registered_commands", "registered_groups"):
        for info in getattr(given, kind):
            own = typer.Typer()
            getattr(own, kind).append(info)
            yield own


def _ambiguous(verb: str, owners: list[Owner]) -> Callable[[], None]:
    named = " and ".join(map(str, owners))

    def refuse() -> None:
        raise InputError(
            f'{len(owners)} installed distributions offer the verb "{verb}": {named}; '
            f"leave one out with TRANSFERKIT_DISABLE_PLUGINS={owners[-1].distribution}"
        )

    refuse.__doc__ = f"Offered by {named}: refused until one of them is left out."
    return refuse
