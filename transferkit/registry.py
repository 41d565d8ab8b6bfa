"""Which plugins are installed, and how a name in a recipe becomes a configured instance."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any, Literal, get_args

import pluggy
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from transferkit.contained import contained, told
from transferkit.errors import InputError, Problem
from transferkit.hookspecs import PROJECT, InstalledHooks, RunHooks
from transferkit.names import Refers, plain_name
from transferkit.suggest import closest, did_you_mean

Kind = Literal["regularizer", "curriculum", "corruption", "analyzer", "observer"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TARGET = re.compile(r"[\w.]+:[\w.]+")
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

    def __str__(self) -> str:
        return f'the {self.kind} "{self.name}" of {self.owner}'

    @property
    def full_name(self) -> str:
        """The name with its distribution, which recipes can use in place of the name alone."""
        return f"{self.owner.distribution}:{self.name}"

    @functools.cached_property
    def cls(self) -> type:
        """The plugin class; a `"module:Class"` string is imported now. Raises InputError when that fails."""
        with contained(f"{self} could not be loaded"):
            found: Any = self.target
            if isinstance(found, str):
                module, _, qualified = found.partition(":")
                found = functools.reduce(getattr, qualified.split("."), import_module(module))
            if not isinstance(found, type):
                raise InputError(f"{self.target} is no class")
            return found

    @functools.cached_property
    def options(self) -> type[BaseModel]:
        """The class's dataclass fields as a pydantic model, unknown keys forbidden. Raises InputError."""
        cls = self.cls
        with contained(f"{self} cannot be used"):
            return options_model(cls)

    @property
    def hooks(self) -> list[str]:
        """The run-level hooks it implements, in the order in which a run calls them."""
        return [name for name in RUN_HOOKS if callable(getattr(self.cls, name, None))]

    def validate(self, options: Mapping[str, Any]) -> BaseModel:
        """The options as its model reads them. Raises pydantic.ValidationError, and InputError for a broken plugin."""
        model = self.options
        with contained(f"{self} cannot read its options", but=ValidationError):
            return model.model_validate(dict(options))

    def create(self, options: Mapping[str, Any]) -> Any:
        """An instance with validated options.

        Raises pydantic.ValidationError; the ValueError with which the class refuses a combination; and InputError.
        """
        valid = self.validate(options)
        with contained(f"{self} could not be made", but=ValueError):
            return self.cls(**{name: getattr(valid, name) for name in type(valid).model_fields})


@dataclass(frozen=True)
class Failure:
    """An installed plugin that could not be loaded."""

    owner: Owner
    error: BaseException

    def __str__(self) -> str:
        return f"{self.owner.plugin} ({self.owner}): {told(self.error)}"


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
    """Every plugin that is installed, and every one that failed to load.

    A component's key is its kind and the name that recipes use for it: `dist:name` where several distributions
    offer one of that kind and name, so that none of them is taken for another.
    """

    components: dict[tuple[Kind, str], Component] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    owners: dict[str, Owner] = field(default_factory=dict)
    """{name of a module in `manager`: its owner}"""
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(PROJECT))

    def __post_init__(self) -> None:
        self.manager.add_hookspecs(InstalledHooks)

    def add(self, kind: Kind, name: str, target: type | str, owner: Owner) -> None:
        """Record a component. Raises InputError for what no recipe could name, and for a second one of one owner."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot be the name of a {kind}: use letters, digits, dots, dashes, underscores")
        if not isinstance(target, type) and not (isinstance(target, str) and TARGET.fullmatch(target)):
            raise InputError(f'the {kind} "{name}" must be a class or the text "module:Class", not {target!r}')
        new = Component(kind, name, target, owner)
        others = self.find(name, kind)
        for other in others:
            if normalised(other.owner.distribution) == normalised(owner.distribution):
                raise InputError(f'{owner} offers two of the kind {kind} under the name "{name}"')
            self.components.pop((kind, name), None)
            self.components[kind, other.full_name] = other
        self.components[kind, new.full_name if others else name] = new

    def names(self, kind: Kind) -> list[str]:
        """The names of that kind as recipes use them, sorted."""
        return sorted(name for known, name in self.components if known == kind)

    def find(self, name: str, kind: str | None = None) -> list[Component]:
        """Every component that `name` or `dist:name` could mean."""
        distribution = normalised(name.rpartition(":")[0])
        return [
            one
            for one in self.components.values()
            if one.name == plain_name(name)
            and kind in (None, one.kind)
            and distribution in ("", normalised(one.owner.distribution))
        ]

    def get(self, kind: Kind, name: str, where: str = "") -> Component:
        """The component of that kind and name. Raises InputError with a suggestion."""
        found = self.find(name, kind)
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(Problem(where, *self._ambiguous(kind, name, found)))
        hint = did_you_mean(name, self.names(kind))
        elsewhere = [other.kind for other in self.find(name)]
        if elsewhere:
            hint = f'"{name}" belongs to another kind: {elsewhere[0]}'
        if self.failures:
            failed = "; ".join(str(failure) for failure in self.failures)
            hint = f"{hint or ''}\n    these installed plugins failed to load: {failed}".strip()
        raise InputError(Problem(where, f'no {kind} called "{name}"', hint))

    def _ambiguous(self, kind: Kind, name: str, found: list[Component]) -> tuple[str, str]:
        owners = " and ".join(str(one.owner) for one in found)
        ways = " or ".join(one.full_name for one in found)
        last = found[-1].owner.distribution
        return (
            f'{len(found)} installed distributions offer the {kind} "{name}": {owners}',
            f"say which with use: {ways}; or leave one out with TRANSFERKIT_DISABLE_PLUGINS={last}",
        )

    def load(self, module: Any, owner: Owner) -> None:
        """Register a plugin module and ask what it offers; when that fails, nothing of it stays."""
        before, name = dict(self.components), f"{owner.plugin} ({owner})"
        try:
            self.manager.register(module, name=name)
            self._refuse_misspelt_hooks(module)
            register = getattr(module, "transferkit_register", None)
            if register is not None:
                register(Register(self, owner))
            self._refuse_nothing(module, owner)
        except BaseException:
            self.components = before
            if self.manager.get_plugin(name) is not None:
                self.manager.unregister(name=name)
            raise
        self.owners[name] = owner

    def _refuse_misspelt_hooks(self, module: Any) -> None:
        known = [name for name in vars(InstalledHooks) if name.startswith("transferkit_")]
        for name in dir(module):
            if name.startswith("transferkit_") and name not in known and callable(getattr(module, name)):
                match = closest(name, known)
                if match:
                    raise InputError(f'{_name(module)}: there is no hook "{name}"; did you mean "{match}"?')

    def _refuse_nothing(self, module: Any, owner: Owner) -> None:
        commands = self.manager.hook.transferkit_commands.get_hookimpls()
        if not any(found.plugin is module for found in commands) and not any(
            one.owner == owner for one in self.components.values()
        ):
            raise InputError(
                f"{_name(module)} offers nothing: a function transferkit_register(register), or one marked "
                "@transferkit.hookimpl, transferkit_commands(cli), says what there is"
            )


def _name(module: Any) -> str:
    return str(getattr(module, "__name__", module))


def normalised(distribution: str) -> str:
    """A distribution's name in the one form in which packaging compares them."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _listed(variable: str) -> set[str] | None:
    value = os.environ.get(variable)
    return None if value is None else {normalised(name.strip()) for name in value.split(",") if name.strip()}


def _is_in(owner: Owner, listed: set[str] | None) -> bool:
    """Whether an environment variable names the plugin: by its entry point, its distribution, or both."""
    plugin, distribution = normalised(owner.plugin), normalised(owner.distribution)
    return bool({plugin, distribution, f"{distribution}:{plugin}"} & (listed or set()))


def _entry_points(distribution: Distribution, name: str | None) -> list[tuple[EntryPoint, Owner]]:
    """The distribution's entry points in our group. Raises InputError where they or their owner's name are broken."""
    try:
        entries = [entry for entry in distribution.entry_points if entry.group == PROJECT]
    except Exception as error:
        raise InputError(f"its entry points cannot be read: {told(error)}") from error
    if entries and name is None:
        raise InputError(f"its metadata say no name, so {entries[0].value} was left out; install it again")
    return [(entry, Owner(entry.name, str(name), _version(distribution))) for entry in entries]


def _distribution_name(distribution: Distribution) -> str | None:
    try:
        return distribution.metadata["Name"] or None
    except Exception:  # there may be no metadata, or none that can be read
        return None


def _version(distribution: Distribution) -> str:
    try:
        return str(distribution.version or "?")
    except Exception:
        return "?"


def _offered(found: Iterable[Distribution], failures: list[Failure]) -> list[tuple[EntryPoint, Owner]]:
    """All entry points in our group by name; the first copy of a distribution on the path wins."""
    seen: set[str] = set()
    offered: list[tuple[EntryPoint, Owner]] = []
    for distribution in found:
        name = _distribution_name(distribution)
        if name is not None and normalised(name) in seen:
            continue
        seen.add(normalised(name or ""))
        try:
            offered += _entry_points(distribution, name)
        except InputError as error:
            broken = name or "a distribution without a name"
            failures.append(Failure(Owner(broken, broken, _version(distribution)), error))
    return sorted(offered, key=lambda pair: (pair[0].name, pair[1].distribution))


def discover(found: Iterable[Distribution] | None = None) -> Registry:
    """Load every installed plugin. One that fails is recorded and harms nobody who does not use it.

    `TRANSFERKIT_PLUGINS=a,b` loads only those; `TRANSFERKIT_DISABLE_PLUGINS=a` leaves some out. Both take names of
    entry points, of distributions, and `dist:name`.
    """
    registry = Registry()
    allowed, disabled = _listed("TRANSFERKIT_PLUGINS"), _listed("TRANSFERKIT_DISABLE_PLUGINS")
    for entry, owner in _offered(found if found is not None else distributions(), registry.failures):
        if _is_in(owner, disabled) or not (allowed is None or _is_in(owner, allowed)):
            continue
        try:
            with contained():
                registry.load(entry.load(), owner)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a stranger's module raises must not stop the others
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
