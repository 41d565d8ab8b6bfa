"""Which plugins are installed, and how a name in a recipe becomes a configured instance."""

from __future__ import annotations

import dataclasses
import functools
import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any, Literal, get_args

import pluggy
from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo

from transferkit.errors import InputError, Problem
from transferkit.hookspecs import PROJECT, InstalledHooks, RunHooks
from transferkit.names import Refers
from transferkit.suggest import closest, did_you_mean

Kind = Literal["regularizer", "curriculum", "corruption", "analyzer", "observer"]
KINDS: tuple[Kind, ...] = get_args(Kind)
RUN_HOOKS = {name: hook for name, hook in vars(RunHooks).items() if not name.startswith("_")}


@dataclass(frozen=True)
class Owner:
    """The installed distribution a plugin comes from."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Component:
    """One name that recipes can use."""

    kind: Kind
    name: str
    target: type | str
    owner: Owner

    @functools.cached_property
    def cls(self) -> type:
        """The plugin class; a `"module:Class"` string is imported now."""
        if isinstance(self.target, type):
            return self.target
        module, _, qualified = self.target.partition(":")
        return functools.reduce(getattr, qualified.split("."), import_module(module))  # type: ignore[return-value]

    @functools.cached_property
    def options(self) -> type[BaseModel]:
        """The class's dataclass fields as a pydantic model, unknown keys forbidden."""
        return options_model(self.cls)

    @property
    def hooks(self) -> list[str]:
        """The run-level hooks it implements, in the order in which a run calls them."""
        return [name for name in RUN_HOOKS if callable(getattr(self.cls, name, None))]

    def create(self, options: Mapping[str, Any]) -> Any:
        """An instance with validated options. Raises pydantic.ValidationError."""
        valid = self.options.model_validate(dict(options))
        return self.cls(**{name: getattr(valid, name) for name in type(valid).model_fields})


@dataclass(frozen=True)
class Failure:
    """An installed plugin that could not be loaded."""

    owner: Owner
    error: BaseException

    def __str__(self) -> str:
        return f"{self.owner.plugin} ({self.owner}): {type(self.error).__name__}: {self.error}"


class Register:
    """What `transferkit_register(register)` receives: one method per kind of plugin."""

    def __init__(self, registry: Registry, owner: Owner) -> None:
        self._registry = registry
        self._owner = owner

    def regularizer(self, name: str, target: type | str) -> None:
        """Offer a penalty or an anchor."""
        self._registry.add("regularizer", name, target, self._owner)

    def curriculum(self, name: str, target: type | str) -> None:
        """Offer a way to mix streams."""
        self._registry.add("curriculum", name, target, self._owner)

    def corruption(self, name: str, target: type | str) -> None:
        """Offer a change planted in images."""
        self._registry.add("corruption", name, target, self._owner)

    def analyzer(self, name: str, target: type | str) -> None:
        """Offer an analysis of finished models."""
        self._registry.add("analyzer", name, target, self._owner)

    def observer(self, name: str, target: type | str) -> None:
        """Offer something that watches a run and changes nothing."""
        self._registry.add("observer", name, target, self._owner)


@dataclass
class Registry:
    """Every plugin that is installed, and every one that failed to load."""

    components: dict[tuple[Kind, str], Component] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(PROJECT))

    def __post_init__(self) -> None:
        self.manager.add_hookspecs(InstalledHooks)

    def add(self, kind: Kind, name: str, target: type | str, owner: Owner) -> None:
        """Record a component. Two owners of one name are an error that names both."""
        other = self.components.get((kind, name))
        if other is not None:
            raise InputError(
                f'two plugins offer the {kind} "{name}": {other.owner} and {owner}; uninstall one of them, '
                f"or leave one out with TRANSFERKIT_DISABLE_PLUGINS={owner.plugin}"
            )
        self.components[kind, name] = Component(kind, name, target, owner)

    def names(self, kind: Kind) -> list[str]:
        """The names of that kind, sorted."""
        return sorted(name for known, name in self.components if known == kind)

    def get(self, kind: Kind, name: str, where: str = "") -> Component:
        """The component of that kind and name. Raises InputError with a suggestion."""
        if (kind, name) in self.components:
            return self.components[kind, name]
        hint = did_you_mean(name, self.names(kind))
        elsewhere = [known for known, other in self.components if other == name]
        if elsewhere:
            hint = f'"{name}" belongs to another kind: {elsewhere[0]}'
        if self.failures:
            failed = "; ".join(str(failure) for failure in self.failures)
            hint = f"{hint or ''}\n    these installed plugins failed to load: {failed}".strip()
        raise InputError(Problem(where, f'no {kind} called "{name}"', hint))

    def load(self, module: Any, owner: Owner) -> None:
        """Register a plugin module and ask what it offers."""
        self.manager.register(module, name=f"{owner.plugin} ({owner})")
        self._refuse_misspelt_hooks(module)
        register = getattr(module, "transferkit_register", None)
        if register is not None:
            register(Register(self, owner))

    def _refuse_misspelt_hooks(self, module: Any) -> None:
        known = [name for name in vars(InstalledHooks) if name.startswith("transferkit_")]
        for name in vars(module):
            if name.startswith("transferkit_") and name not in known and callable(getattr(module, name)):
                match = closest(name, known)
                if match:
                    raise InputError(f'{module.__name__}: there is no hook "{name}"; did you mean "{match}"?')


def _listed(variable: str) -> set[str] | None:
    value = os.environ.get(variable)
    return None if value is None else {name.strip() for name in value.split(",") if name.strip()}


def _entry_points(found: Iterable[Distribution]) -> Iterable[tuple[EntryPoint, Owner]]:
    """Our entry points with their distributions; the first copy of a distribution on the path wins."""
    seen: set[str] = set()
    for distribution in found:
        name = distribution.metadata["Name"]
        if name is None or name.lower() in seen:
            continue
        seen.add(name.lower())
        for entry in distribution.entry_points:
            if entry.group == PROJECT:
                yield entry, Owner(entry.name, name, distribution.version)


def discover(found: Iterable[Distribution] | None = None) -> Registry:
    """Load every installed plugin. One that fails is recorded and harms nobody who does not use it.

    `TRANSFERKIT_PLUGINS=a,b` loads only those; `TRANSFERKIT_DISABLE_PLUGINS=a` leaves some out.
    """
    registry = Registry()
    allowed, disabled = _listed("TRANSFERKIT_PLUGINS"), _listed("TRANSFERKIT_DISABLE_PLUGINS") or set()
    for entry, owner in sorted(_entry_points(found or distributions()), key=lambda pair: pair[0].name):
        if entry.name in disabled or (allowed is not None and entry.name not in allowed):
            continue
        before = dict(registry.components)
        try:
            registry.load(entry.load(), owner)
        except InputError as error:
            if "two plugins offer" in str(error):
                raise
            registry.components = before
            registry.failures.append(Failure(owner, error))
        except Exception as error:  # whatever a stranger's module raises must not stop the others
            registry.components = before
            registry.failures.append(Failure(owner, error))
    return registry


@functools.cache
def installed() -> Registry:
    """The registry of this process."""
    return discover()


def options_model(cls: type) -> type[BaseModel]:
    """The options of a plugin class: its dataclass fields, with their types, ranges and defaults."""
    if not dataclasses.is_dataclass(cls):
        if any(name != "self" for name in _init_parameters(cls)):
            raise InputError(f"{cls.__name__}: a plugin with options must be a dataclass (add @dataclass)")
        return create_model(cls.__name__, __config__=ConfigDict(extra="forbid"))
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(cls):
        if not item.init:
            continue
        default: Any = ...
        if item.default is not dataclasses.MISSING:
            default = item.default
        elif item.default_factory is not dataclasses.MISSING:
            default = FieldInfo(default_factory=item.default_factory)
        fields[item.name] = (hints[item.name], default)
    config = ConfigDict(extra="forbid", validate_default=True, arbitrary_types_allowed=True)
    return create_model(cls.__name__, __config__=config, **fields)


def _init_parameters(cls: type) -> list[str]:
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        return []
    code = getattr(cls.__init__, "__code__", None)  # type: ignore[misc]
    return list(code.co_varnames[: code.co_argcount]) if code else []


def reference_options(component: Component) -> dict[str, str]:
    """{option: what its names stand for}: options of the types `StageName` and `DatasetName`, or lists of them."""
    found: dict[str, str] = {}
    for name, info in component.options.model_fields.items():
        marks = [mark for mark in (*info.metadata, *_marks(info.annotation)) if isinstance(mark, Refers)]
        if marks:
            found[name] = marks[0].what
    return found


def _marks(annotation: Any) -> list[Any]:
    """Everything that `Annotated` adds to the types within an annotation."""
    own = list(getattr(annotation, "__metadata__", ()))
    return own + [mark for inner in get_args(annotation) for mark in _marks(inner)]


def path_options(component: Component) -> list[str]:
    """Names of the options that are paths: they are read relative to the recipe that gives them."""
    names = []
    for name, info in component.options.model_fields.items():
        inner = {info.annotation, *get_args(info.annotation)}
        if Path in inner:
            names.append(name)
    return names
