"""A plugin that a file names, with its distribution, version and options: made anew by what is installed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from transferkit.errors import InputError
from transferkit.plugins.distributions import normalised
from transferkit.plugins.hooks import Call, Plugin, RunPlugins
from transferkit.plugins.registry import installed
from transferkit.words.doors import shell


def adapter_calls(
    name: str, distribution: str, version: str, options: Mapping[str, Any], where: str
) -> tuple[Call, ...]:
    """The `adapt` of an adapter with these options, which its own class validates; `where` names the file.

    Raises InputError that says what to install where it is missing, and for options that this version does not take.
    """
    said = f'the adapter "{name}" of {distribution} {version}'
    owner = normalised(distribution)
    found = [one for one in installed().find(name, "adapter") if normalised(one.owner.distribution) == owner]
    if not found:
        raise InputError(
            f"{where}: the model has layers of {said}, which is not installed here (or left out, or failed to load: "
            f'{shell("transferkit plugins --failed")}); install "{distribution}=={version}"'
        )
    try:
        instance = found[0].create(options)
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        text = f"{where}: {found[0]} does not take the options that {said} had ({reason})"
        raise InputError(f'{text}; install "{distribution}=={version}"') from error
    return RunPlugins([Plugin("adapter", name, instance, found[0])]).calls("adapt")
