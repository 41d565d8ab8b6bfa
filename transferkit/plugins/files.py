"""Plugin files that a recipe names: known by their bytes, which are what runs, and only where that was allowed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from transferkit.errors import InputError
from transferkit.plugins.contained import contained
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry, installed

VARIABLE = "TRANSFERKIT_ALLOW_LOCAL_PLUGINS"
_with_files: list[Registry] = []
_reading: list[Registry] = []


def allowed(said: bool = False) -> bool:
    """Whether code from plugin files may run: `said` where the command line or the caller does so."""
    return said or os.environ.get(VARIABLE, "") not in ("", "0")


@dataclass(frozen=True)
class PluginFile:
    """A Python file beside a recipe, as it was when it was read."""

    path: Path
    content: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> PluginFile:
        """Raises InputError for what cannot be read, or imported under its name."""
        if path.suffix != ".py" or not path.stem.isidentifier():
            raise InputError("a plugin file is called like a Python module: letters, digits, underscores, and .py")
        try:
            return cls(path, path.read_bytes())
        except OSError as error:
            raise InputError(f"{path.name} cannot be read: {error.strerror}") from error

    @cached_property
    def sha256(self) -> str:
        """Of its bytes."""
        return sha256(self.content).hexdigest()

    @property
    def owner(self) -> Owner:
        """Who errors name, and what a changed file is told by."""
        return Owner(self.path.stem, f"file {self.path.name}", self.sha256[:12])

    def module(self) -> ModuleType:
        """What the bytes are as a module, under the file's own name; its folder can be imported from.

        So processes that read images can import it too. Raises whatever its code raises, and InputError for a name that
        another module has.
        """
        name, spec = self.path.stem, spec_from_file_location(self.path.stem, self.path)
        known = sys.modules.get(name)
        if known is not None and getattr(known, "__plugin_file__", None) == self:
            return known
        if getattr(known, "__plugin_file__", None) is None and (known is not None or find_spec(name) is not None):
            raise InputError(f"{self.path.name} would hide the module {name}; give it another name")
        assert spec is not None
        module = module_from_spec(spec)
        module.__plugin_file__ = self  # type: ignore[attr-defined]
        sys.modules[name] = module
        if str(self.path.parent) not in sys.path:
            sys.path.append(str(self.path.parent))
        try:
            exec(compile(self.content, str(self.path), "exec"), vars(module))  # the bytes that were hashed
        except BaseException:
            del sys.modules[name]
            raise
        return module


def with_files(registry: Registry, files: Iterable[PluginFile]) -> Registry:
    """The registry, and beside it what the files register. Raises InputError that names a file that fails."""
    found = Registry(dict(registry.components), list(registry.failures), dict(registry.owners))
    for file in files:
        with contained(f"the plugin file {file.path.name} failed"):
            found.load(file.module(), file.owner)
    _with_files[:] = [found]
    return found


@contextmanager
def reading(registry: Registry) -> Iterator[None]:
    """Inside, a recipe is read with this registry: names in options of plugins are those of `known()`."""
    _reading.append(registry)
    try:
        yield
    finally:
        _reading.pop()


def known() -> Registry:
    """What a recipe is read with just now; else what is installed, and the plugin files of the recipe read last."""
    return _reading[-1] if _reading else _with_files[0] if _with_files else installed()
