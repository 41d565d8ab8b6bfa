"""Which plugins are installed, and how a name in a recipe becomes a configured instance."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING, Any

import pluggy

from transferkit.errors import InputError, Problem
from transferkit.hookspecs import PROJECT, Declared, InstalledHooks, RunHooks
from transferkit.plugins.contained import contained
from transferkit.plugins.distributions import Failure, Owner, is_in, listed, normalised, offered
from transferkit.plugins.kinds import Kind
from transferkit.surface import API_VERSION, __version__
from transferkit.system.signals import TO_STOP
from transferkit.words.names import plain_name
from transferkit.words.suggest import closest, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TARGET = re.compile(r"[\w.]+:[\w.]+")
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
RUN_HOOKS = {name: hook for name, hook in vars(RunHooks).items() if not name.startswith("_")}


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
        from transferkit.plugins.options import options_model

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
        from pydantic import ValidationError

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
        others = self.models.setdefault(name, [])
        if any(normalised(one.owner.distribution) == normalised(owner.distribution) for one in others):
            raise InputError(f'{owner} offers two models under the name "{name}"')
        others.append(OfferedModel(name, module, owner))

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


def discover(found: Iterable[Distribution] | None = None) -> Registry:
    """Load every installed plugin. One that fails is recorded and harms nobody who does not use it.

    `TRANSFERKIT_PLUGINS=a,b` loads only those; `TRANSFERKIT_DISABLE_PLUGINS=a` leaves some out. Both take names of
    entry points, of distributions, and `dist:name`.
    """
    registry = Registry()
    allowed, disabled = listed("TRANSFERKIT_PLUGINS"), listed("TRANSFERKIT_DISABLE_PLUGINS")
    for entry, owner in offered(found if found is not None else distributions(), PROJECT, registry.failures):
        if is_in(owner, disabled) or not (allowed is None or is_in(owner, allowed)):
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
