"""Versions, and what a package shows: names that are imported on first use. Imports nothing of transferkit."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__version__ = "0.1.0"
API_VERSION = "1"


def installed_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """{package: its version}, None for one that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = dict.fromkeys(packages)
    for package in found:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def lazy_imports(package: str) -> tuple[Callable[[str], Any], list[str]]:
    """A package's `__getattr__` and `__all__`: the names that its `__init__.py` imports as themselves, on first use.

    So every name stands once, where type checkers read it, and registering a plugin does not import torch:

        if TYPE_CHECKING:
            from transferkit_bss.penalty import bss as bss
        else:
            __getattr__, __all__ = transferkit.lazy_imports(__name__)

    Raises ImportError where the text of `__init__.py` is not installed beside its bytecode.
    """
    spec = find_spec(package)
    source = getattr(spec and spec.loader, "get_source", lambda package: None)(package)
    if source is None:
        raise ImportError(f"{package} was installed without its source: install it with its .py files", name=package)
    homes = {
        alias.name: f"{package}.{alias.name}" if node.module == package else str(node.module)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    return lazy(package, homes), sorted(homes)


def lazy(package: str, homes: dict[str, str]) -> Callable[[str], Any]:
    """A module `__getattr__` that imports names on first use, from where `homes` says.

    `__getattr__ = transferkit.lazy(__name__, {"bss": "transferkit_bss.penalty"})`: for a package that lists its names
    itself; `lazy_imports` reads them.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(homes[name])
        return home if homes[name] == f"{package}.{name}" else getattr(home, name)

    return __getattr__
