"""Plugins for rooms in which hooks' own types are made: by name and late, since a registry knows every hook."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def installed() -> Any:
    """The Registry of this process."""
    return import_module("transferkit.plugins.registry").installed()


def calls(kind: str, name: str, component: Any, options: Any, hook: str) -> Any:
    """The calls of a hook of one new plugin with these options. Raises what making it raises."""
    hooks = import_module("transferkit.plugins.hooks")
    return hooks.RunPlugins([hooks.Plugin(kind, name, component.create(options), component)]).calls(hook)


def remade(plugin: str, distribution: str, version: str, options: Any, where: str) -> Any:
    """See `plugins.remade.adapter_calls`."""
    return import_module("transferkit.plugins.remade").adapter_calls(plugin, distribution, version, options, where)
