"""What installed distributions say of plugins in their metadata, before anything of them is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint

from transferkit.errors import InputError
from transferkit.plugins.contained import told


@dataclass(frozen=True)
class Owner:
    """The installed distribution a plugin comes from."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Failure:
    """An installed plugin that could not be loaded."""

    owner: Owner
    error: BaseException

    def __str__(self) -> str:
        return f"{self.owner.plugin} ({self.owner}): {told(self.error)}"


def normalised(distribution: str) -> str:
    """A distribution's name in the one form in which packaging compares them."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def listed(variable: str) -> set[str] | None:
    """The names in an environment variable; None where it is not set."""
    value = os.environ.get(variable)
    return None if value is None else {normalised(name.strip()) for name in value.split(",") if name.strip()}


def is_in(owner: Owner, names: set[str] | None) -> bool:
    """Whether an environment variable names the plugin: by its entry point, its distribution, or both."""
    plugin, distribution = normalised(owner.plugin), normalised(owner.distribution)
    return bool({plugin, distribution, f"{distribution}:{plugin}"} & (names or set()))


def _entry_points(distribution: Distribution, name: str | None, group: str) -> list[tuple[EntryPoint, Owner]]:
    """The distribution's entry points in our group. Raises InputError where they or their owner's name are broken."""
    try:
        entries = [entry for entry in distribution.entry_points if entry.group == group]
    except Exception as error:
        raise InputError(f"its entry points cannot be read: {told(error)}") from error
    if entries and name is None:
        raise InputError(f"its metadata say no name, so {entries[0].value} was left out; install it again")
    version = (_header(distribution, "Version") or "?") if entries else ""
    return [(entry, Owner(entry.name, str(name), version)) for entry in entries]


def _header(distribution: Distribution, field: str) -> str | None:
    """One line of the distribution's metadata; None where they lack it, are missing or cannot be read.

    Looked up in the text, because parsing the metadata of everything installed takes longer than reading a recipe.
    """
    try:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except Exception:
        return None
    found = re.search(rf"^{field}:[ \t]*(\S+)", text.partition("\n\n")[0], re.MULTILINE)
    return found[1] if found else None


def offered(found: Iterable[Distribution], group: str, failures: list[Failure]) -> list[tuple[EntryPoint, Owner]]:
    """All entry points in our group by name; the first copy of a distribution on the path wins."""
    seen: set[str] = set()
    entries: list[tuple[EntryPoint, Owner]] = []
    for distribution in found:
        name = _header(distribution, "Name")
        if name is not None and normalised(name) in seen:
            continue
        seen.add(normalised(name or ""))
        try:
            entries += _entry_points(distribution, name, group)
        except InputError as error:
            broken = name or "a distribution without a name"
            failures.append(Failure(Owner(broken, broken, _header(distribution, "Version") or "?"), error))
    return sorted(entries, key=lambda pair: (pair[0].name, pair[1].distribution))
