"""Architectures that timm knows only once a plugin's module is imported: which one, and what a model folder says of it.

Only a name that an installed plugin registered leads to an import. What a folder says is shown to people, and never
imported.
"""

from __future__ import annotations

from typing import Any

import timm

from transferkit.errors import InputError

KEY = "architecture_of"


def is_known(name: str) -> bool:
    """Whether timm has an architecture of that name, after importing the plugin module that registers it, if any.

    Raises InputError where that fails, or where several distributions register it.
    """
    if timm.is_model(name):
        return True
    from transferkit.plugins.late import installed

    offered = installed().model(name)
    if offered is None:
        return False
    offered.load()
    if not timm.is_model(name):
        raise InputError(f'{offered} does not give timm a model "{name}": {offered.module} must register it in timm')
    return True


def registered_names() -> list[str]:
    """The names that plugins registered."""
    from transferkit.plugins.late import installed

    return sorted(installed().models)


def origin(architecture: str) -> dict[str, Any]:
    """{"architecture_of": {distribution, version, module}} of a plugin's architecture, for a model folder; else {}."""
    if not timm.is_model(architecture):
        return {}
    home = str(timm.model_entrypoint(architecture).__module__).partition(".")[0]
    if home in ("timm", "transferkit"):
        return {}
    from transferkit.plugins.late import installed

    offered = installed().model(architecture)
    if offered is None:
        return {}
    owner = offered.owner
    return {KEY: {"distribution": owner.distribution, "version": owner.version, "module": offered.module}}


def unknown(name: str, said: dict[str, str] | None = None) -> str:
    """The sentence about an architecture that nobody knows; `said` is what its folder says of where it comes from."""
    sentence = f'this timm ({timm.__version__}) has no model "{name}"'
    if not said:
        return sentence
    distribution = f"{said.get('distribution', '?')} {said.get('version', '')}".strip()
    return (
        f"{sentence}, and no installed plugin registers it: the folder says that it is of {distribution}; install that "
        f"(pip install {said.get('distribution', '?')}) if you trust it"
    )
