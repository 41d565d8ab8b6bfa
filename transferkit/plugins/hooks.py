"""The plugins of one run: checked signatures, recipe order, attributed errors, compiled hot hooks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import pluggy

from transferkit.errors import InputError
from transferkit.hookspecs import PROJECT, RunHooks
from transferkit.plugins.contained import contained
from transferkit.plugins.kinds import Kind
from transferkit.plugins.registry import RUN_HOOKS, Component
from transferkit.words.suggest import closest, did_you_mean

STATE = ("state_dict", "load_state_dict")


@dataclass(frozen=True, eq=False)
class Plugin:
    """One configured plugin of a run: what the recipe named, and the instance made from it.

    Two of them are never equal: an instance's own `==` compares options, and may give a tensor.
    """

    kind: Kind
    name: str
    instance: Any
    component: Component

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' ({self.component.owner})"


@dataclass(frozen=True, eq=False)
class Call:
    """A hook implementation bound to its plugin, with the arguments it asks for."""

    plugin: Plugin
    hook: str
    function: Callable[..., Any]
    requests: tuple[str, ...]
    _fetch: Callable[[Any], Any] | None

    def __call__(self, offers: Any) -> Any:
        """Call it with what it asks for, read from the attributes of `offers`."""
        try:
            if self._fetch is None:
                return self.function()
            if len(self.requests) == 1:
                return self.function(self._fetch(offers))
            return self.function(*self._fetch(offers))
        except BaseException as error:
            error.add_note(f"in {self.hook} of the {self.plugin}")
            raise


class _Registered:
    """What pluggy gets in place of an instance: it compares plugins by `==`, and two with equal options are equal."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        vars(self).update({hook: getattr(plugin.instance, hook) for hook in plugin.component.hooks})


class _RunManager(pluggy.PluginManager):
    """A public method whose name is a run-level hook implements it: no decorator needed."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        if name in RUN_HOOKS:
            return pluggy.HookimplOpts(
                wrapper=False, hookwrapper=False, optionalhook=False, tryfirst=False, trylast=False, specname=None
            )
        return None


class RunPlugins:
    """The plugins that a stage or an analysis names, in recipe order."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._manager = _RunManager(PROJECT)
        self._manager.add_hookspecs(RunHooks)
        # pluggy calls the last registered first; a reader of a recipe expects the order of the recipe
        for plugin in reversed(self.plugins):
            check_signatures(plugin.component.cls)
            self._manager.register(_Registered(plugin), name=f"{plugin.kind}:{plugin.name}:{id(plugin)}")

    def __iter__(self) -> Iterator[Plugin]:
        return iter(self.plugins)

    def calls(self, hook: str) -> tuple[Call, ...]:
        """The implementations of a hook in recipe order, bound once: nothing of pluggy runs in the step."""
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        return tuple(
            Call(
                found.plugin.plugin,
                hook,
                found.function,
                tuple(found.argnames),
                attrgetter(*found.argnames) if found.argnames else None,
            )
            for found in reversed(implementations)
        )

    def requests(self, hook: str) -> set[str]:
        """Everything that some implementation of the hook asks for."""
        return {name for call in self.calls(hook) for name in call.requests}

    def order(self) -> dict[str, list[str]]:
        """{hook: plugin names in call order}, for people to read."""
        return {hook: [call.plugin.name for call in self.calls(hook)] for hook in RUN_HOOKS if self.calls(hook)}


def refuse_broken(component: Component) -> None:
    """Import the class, read its options and check its hooks. Raises InputError that names the plugin."""
    _ = component.options
    with contained(str(component.owner)):
        check_signatures(component.cls)


def check_signatures(cls: type) -> None:
    """Refuse a misspelt hook or argument, and an argument with a default, by name and with a suggestion."""
    for name in vars(cls):
        if name in RUN_HOOKS:
            _check_arguments(cls, name)
        elif not name.startswith("_") and name not in STATE and inspect.isfunction(vars(cls)[name]):
            match = closest(name, RUN_HOOKS)
            similar = match and abs(len(name) - len(match)) <= 2 and name[0] == match[0]
            if match and similar and not callable(getattr(cls, match, None)):
                raise InputError(f'{cls.__name__}: there is no hook "{name}"; did you mean "{match}"?')
    if not any(callable(getattr(cls, name, None)) for name in RUN_HOOKS):
        raise InputError(f"{cls.__name__} implements no hook. The hooks are: {', '.join(RUN_HOOKS)}")


def _check_arguments(cls: type, hook: str) -> None:
    known = [name for name in inspect.signature(RUN_HOOKS[hook]).parameters if name != "self"]
    method = inspect.getattr_static(cls, hook)
    if isinstance(method, property) or not callable(getattr(cls, hook)):
        raise InputError(f'{cls.__name__}: "{hook}" is the name of a hook, so it must be a method')
    parameters = list(inspect.signature(getattr(cls, hook)).parameters.values())
    if not isinstance(method, staticmethod | classmethod):
        parameters = parameters[1:]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InputError(f"{cls.__name__}.{hook}: name the arguments you want instead of *{parameter.name}")
        if parameter.name not in known:
            hint = did_you_mean(parameter.name, known)
            raise InputError(f'{cls.__name__}.{hook}: there is no argument "{parameter.name}" to ask for; {hint}')
        if parameter.default is not parameter.empty:
            raise InputError(
                f'{cls.__name__}.{hook}: "{parameter.name}" has a default, which would always win over what the '
                "core offers; remove the default"
            )
        if parameter.name == "own" and not callable(getattr(cls, "parameters", None)):
            raise InputError(
                f'{cls.__name__}.{hook} asks for "own", which is what the hook `parameters` returns; add it'
            )
