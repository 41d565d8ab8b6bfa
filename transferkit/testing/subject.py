"""The plugin under test together with the session it is tested in."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from transferkit.hooks import Call, Plugin, RunPlugins
from transferkit.testing.guard import unchanged
from transferkit.testing.tiny import TinySession


class Subject:
    """Calls hooks as the core does, and turns what goes wrong into sentences."""

    def __init__(self, name: str, plugins: RunPlugins, session: TinySession) -> None:
        self.name = name
        self.plugins = plugins
        self.session = session
        self.plugin: Plugin = plugins.plugins[0]

    def call(self, hook: str) -> Call | None:
        """The plugin's implementation of the hook, if it has one."""
        return next(iter(self.plugins.calls(hook)), None)

    def session_offer(self, **more: Any) -> SimpleNamespace:
        """An offer of the session and whatever else the hook may ask for."""
        return SimpleNamespace(session=self.session, **more)

    def run(self, hook: str, offer: Any, *, guard: bool = False) -> list[Any]:
        """The hook's value in a list, or an empty list when the plugin does not implement it."""
        call = self.call(hook)
        if call is None:
            return []
        where = f"{self.name}.{hook}"
        lent = unchanged(where, model=self.session.model, reference=self.session.reference) if guard else nullcontext()
        with lent:
            return [invoke(where, call, offer)]


def invoke(where: str, call: Call, offer: Any) -> Any:
    """The call's value; an exception becomes an AssertionError that names it."""
    try:
        return call(offer)
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{where} raises {type(error).__name__}: {error}") from error
