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
from typing import Any, get_args

import pluggy
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from transferkit.errors import InputError, Problem
from transferkit.hookspecs import PROJECT, Declared, InstalledHooks, RunHooks
from transferkit.plugins.contained import contained, told
from transferkit.plugins.kinds import Kind
from transferkit.surface import API_VERSION, __version__
from transferkit.system.signals import TO_STOP
from transferkit.words.names import Refers, plain_name
from transferkit.words.suggest import closest, did_you_mean

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TARGET = re.compile(r"[\w.]+:[\w.]+")
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
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

    @functools.cached_property
    def declared(self) -> Declared:
        """What the class says of itself beside its hooks. Raises InputError when it cannot be imported."""
        return Declared.of(self.cls)

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
class OfferedModel:
    """A timm architecture, and the module that registers it in timm when it is imported."""

    name: str
    module: str
    owner: Owner

    def __str__(self) -> str:
        return f'the model "{self.name}" of {self.owner}'

    def load(self) -> None:
        """Import the module. Raises InputError when that fails."""
        with contained(f"{self} could not be loaded"):
            import_module(self.module)


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

    def adapter(self, name: str, target: type | str) -> None:
        """Offer layers that take the place of a model's own."""
        self._registry.add("adapter", name, target, self._owner)

    def augmentation(self, name: str, target: type | str) -> None:
        """Offer a change of training images that is drawn anew in every epoch."""
        self._registry.add("augmentation", name, target, self._owner)

    def loss(self, name: str, target: type | str) -> None:
        """Offer a task loss."""
        self._registry.add("loss", name, target, self._owner)

    def metric(self, name: str, target: type | str) -> None:
        """Offer a number of an evaluation, which may select the best epoch."""
        self._registry.add("metric", name, target, self._owner)

    def edit(self, name: str, target: type | str) -> None:
        """Offer a change of a finished model's weights."""
        self._registry.add("edit", name, target, self._owner)

    def detector(self, name: str, target: type | str) -> None:
        """Offer a score that says whether an input wakes a memory."""
        self._registry.add("detector", name, target, self._owner)

    def reader(self, name: str, target: type | str) -> None:
        """Offer a format in which data sets are kept."""
        self._registry.add("reader", name, target, self._owner)

    def model(self, name: str, module: str) -> None:
        """Offer an architecture: a name for timm, which has it once the module is imported."""
        self._registry.add_model(name, module, self._owner)


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
    models: dict[str, list[OfferedModel]] = field(default_factory=dict)
    """{name of an architecture: those who offer it}"""
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

    def add_model(self, name: str, module: str, owner: Owner) -> None:
        """Record an architecture. Raises InputError for what timm could not have under that name."""
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]*", name):
            raise InputError(f"{name!r} cannot be the name of a model: use letters, digits and underscores")
        if not isinstance(module, str) or not MODULE.fullmatch(module):
            raise InputError(f'the model "{name}" must have the name of a module, not {module!r}')
        offered = self.models.setdefault(name, [])
        if any(normalised(one.owner.distribution) == normalised(owner.distribution) for one in offered):
            raise InputError(f'{owner} offers two models under the name "{name}"')
        offered.append(OfferedModel(name, module, owner))

    def model(self, name: str) -> OfferedModel | None:
        """The architecture of that name, or None. Raises InputError where several distributions offer it."""
        offered = self.models.get(name, [])
        if len(offered) > 1:
            owners = " and ".join(str(one.owner) for one in offered)
            advice = f"leave one out with TRANSFERKIT_DISABLE_PLUGINS={offered[-1].owner.distribution}"
            raise InputError(Problem("", f'{len(offered)} distributions offer the model "{name}": {owners}', advice))
        return offered[0] if offered else None

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
            owners = " and ".join(str(one.owner) for one in found)
            ways, last = " or ".join(one.full_name for one in found), found[-1].owner.distribution
            text = f'{len(found)} installed distributions offer the {kind} "{name}": {owners}'
            advice = f"say which with use: {ways}; or leave one out with TRANSFERKIT_DISABLE_PLUGINS={last}"
            raise InputError(Problem(where, text, advice))
        hint = did_you_mean(name, self.names(kind))
        elsewhere = [other.kind for other in self.find(name)]
        if elsewhere:
            hint = f'"{name}" belongs to another kind: {elsewhere[0]}'
        if self.failures:
            failed = "; ".join(str(failure) for failure in self.failures)
            hint = f"{hint or ''}\n    these installed plugins failed to load: {failed}".strip()
        raise InputError(Problem(where, f'no {kind} called "{name}"', hint))

    def load(self, module: Any, owner: Owner) -> None:
        """Register a plugin module and ask what it offers; when that fails, nothing of it stays."""
        before, name = dict(self.components), f"{owner.plugin} ({owner})"
        models = {one: list(offered) for one, offered in self.models.items()}
        try:
            _refuse_newer(module)
            self.manager.register(module, name=name)
            self._refuse_misspelt_hooks(module)
            register = getattr(module, "transferkit_register", None)
            if register is not None:
                register(Register(self, owner))
            self._refuse_nothing(module, owner)
        except BaseException:
            self.components, self.models = before, models
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
        owners = [one.owner for one in self.components.values()]
        owners += [one.owner for offered in self.models.values() for one in offered]
        if not any(found.plugin is module for found in commands) and owner not in owners:
            raise InputError(
                f"{_name(module)} offers nothing: a function transferkit_register(register), or one marked "
                "@transferkit.hookimpl, transferkit_commands(cli), says what there is"
            )


def _refuse_newer(module: Any) -> None:
    """Raises InputError for a plugin that says `transferkit_api = N` and needs a surface that is not here yet."""
    needed = getattr(module, "transferkit_api", None)
    if needed is None:
        return
    if not isinstance(needed, int) or isinstance(needed, bool):
        raise InputError(f"{_name(module)}: transferkit_api must be a whole number, not {needed!r}")
    if needed > int(API_VERSION):
        raise InputError(
            f"{_name(module)} needs version {needed} of what plugins may use; transferkit {__version__} has version "
            f"{API_VERSION}: upgrade transferkit, or install an older version of the plugin"
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


def _offered(found: Iterable[Distribution], failures: list[Failure]) -> list[tuple[EntryPoint, Owner]]:
    """All entry points in our group by name; the first copy of a distribution on the path wins."""
    seen: set[str] = set()
    offered: list[tuple[EntryPoint, Owner]] = []
    for distribution in found:
        name = _header(distribution, "Name")
        if name is not None and normalised(name) in seen:
            continue
        seen.add(normalised(name or ""))
        try:
            offered += _entry_points(distribution, name)
        except InputError as error:
            broken = name or "a distribution without a name"
            failures.append(Failure(Owner(broken, broken, _header(distribution, "Version") or "?"), error))
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
        except TO_STOP:
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
    fields = component.options.model_fields.items()
    return [name for name, info in fields if Path in (info.annotation, *get_args(info.annotation))]
