"""`check_plugin`: does a plugin class keep the promises that the core relies on?

Every failure is an AssertionError with one sentence that says what is wrong and what to do.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError

from transferkit.contained import told
from transferkit.errors import InputError
from transferkit.hooks import Plugin, RunPlugins, check_signatures
from transferkit.registry import Component, Kind, Owner
from transferkit.testing.check_data import check_data_hooks
from transferkit.testing.check_forward import check_forward_hooks
from transferkit.testing.check_regularizer import check_anchors, check_penalty
from transferkit.testing.subject import Subject
from transferkit.testing.tiny import tiny_analysis, tiny_session

STRANGE = "no_such_option"


def check_plugin(cls: type, **options: Any) -> None:
    """Check a plugin class with these options against everything its hooks promise.

    Raises AssertionError with a sentence about the first promise that is broken.
    """
    component = check_class(cls, options)
    check_import(cls)
    plugins = RunPlugins([Plugin(component.kind, component.name, _create(component, options), component)])
    with tempfile.TemporaryDirectory() as folder:
        subject = _prepare(plugins, component, Path(folder))
        subject.run("setup", subject.session_offer(), guard=True)
        check_penalty(subject)
        check_anchors(subject)
        check_data_hooks(subject)
        check_forward_hooks(subject)
        _check_observers(subject)
        _check_analysis(subject)
        _check_state(subject, Plugin(component.kind, component.name, _create(component, options), component))
        subject.run("teardown", subject.session_offer(error=None), guard=True)


def check_class(cls: type, options: Mapping[str, Any]) -> Component:
    """Hooks, signatures and options of the class; returns it as a component of the kind its hooks suggest."""
    try:
        check_signatures(cls)
    except InputError as error:
        raise AssertionError(str(error)) from error
    component = Component(_kind(cls), cls.__name__.lower(), cls, Owner(cls.__name__, "under test", "0"))
    _create(component, options)
    try:
        component.create({**options, STRANGE: 1})
    except ValidationError:
        return component
    raise AssertionError(f"{cls.__name__} accepts an option it does not have; make it a plain @dataclass")


def _kind(cls: type) -> Kind:
    kinds: dict[str, Kind] = {
        "penalty": "regularizer",
        "anchors": "regularizer",
        "transform_features": "regularizer",
        "corrupt": "corruption",
        "streams": "curriculum",
        "mix": "curriculum",
        "combine": "curriculum",
        "analyze": "analyzer",
    }
    return next((kind for hook, kind in kinds.items() if callable(getattr(cls, hook, None))), "observer")


def _create(component: Component, options: Mapping[str, Any]) -> Any:
    try:
        return component.create(options)
    except InputError as error:
        raise AssertionError(str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the options"
        raise AssertionError(f"{component.cls.__name__}: option {place}: {first['msg']}") from error


def check_import(cls: type) -> None:
    """Warn when importing the class's module imports torch: every command that lists plugins would pay for it."""
    module = cls.__module__
    if module == "__main__" or "<locals>" in cls.__qualname__:
        return
    if _imports_torch(module):
        warnings.warn(
            f"importing {module} imports torch, which takes seconds; import it inside the methods that need it",
            stacklevel=3,
        )


@functools.cache
def _imports_torch(module: str) -> bool:
    """Whether a fresh interpreter has torch after importing the module."""
    code = f"import sys; import {module}; sys.exit('torch' in sys.modules and 3)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    return done.returncode == 3


def _prepare(plugins: RunPlugins, component: Component, folder: Path) -> Subject:
    """Taps and a session, in the order of a run."""
    taps = plugins.calls("taps")
    name = component.cls.__name__
    try:
        session = tiny_session(folder, taps=(lambda model: _names(taps[0](_Model(model)), name)) if taps else None)
    except InputError as error:
        raise AssertionError(f"{name}.taps: {error}; give options that fit the tiny model, a small ResNet") from error
    return Subject(name, plugins, session)


class _Model:
    def __init__(self, model: Any) -> None:
        self.model = model


def _names(value: Any, name: str) -> list[str]:
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise AssertionError(f"{name}.taps must return a list of layer names")
    return list(value)


def _check_observers(subject: Subject) -> None:
    """`step_end` and `epoch_end` return numbers by name, or nothing."""
    import torch

    step = subject.session_offer(step=0, losses={"task": torch.tensor(1.0)})
    metrics = {"train": {"loss": 1.0, "top1": 0.5}, "val": {"loss": 1.0, "top1": 0.5, "per_class": {}}}
    for hook, offer in (("step_end", step), ("epoch_end", subject.session_offer(epoch=0, metrics=metrics))):
        for value in subject.run(hook, offer, guard=True):
            if value is None:
                continue
            wrong = not isinstance(value, Mapping) or any(
                not isinstance(item, int | float | torch.Tensor) for item in value.values()
            )
            if wrong:
                raise AssertionError(f"{subject.name}.{hook} must return {{name: number}} or nothing, not {value!r}")


def _check_analysis(subject: Subject) -> None:
    """`analyze` returns a Report that can be written."""
    from transferkit.report import Report

    if subject.call("analyze") is None:
        return
    session = tiny_analysis(subject.session.out / "analyses")
    for value in subject.run("analyze", SimpleNamespace(session=session), guard=True):
        if not isinstance(value, Report):
            raise AssertionError(f"{subject.name}.analyze must return a transferkit.Report, not {type(value).__name__}")
        try:
            value.write(session.out, name="check", plugin=subject.name, version="0", parameters={})
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{subject.name}.analyze: the report cannot be written: {error}") from error
        missing = [name for name in value.figures if not (session.out / name).is_file()]
        if missing:
            raise AssertionError(f"{subject.name}.analyze names figures it did not write into session.out: {missing}")


def _check_state(subject: Subject, other: Plugin) -> None:
    """State goes through JSON and safetensors and into another instance, which is set up first, as in a run."""
    instance = subject.plugin.instance
    has = [name for name in ("state_dict", "load_state_dict") if callable(getattr(instance, name, None))]
    if not has:
        return
    if len(has) == 1:
        raise AssertionError(f"{subject.name} has {has[0]} but not the other of state_dict and load_state_dict")
    from transferkit.training.state import load_tree, save_tree, snapshot

    path = subject.session.out / "state"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = instance.state_dict()
    try:
        save_tree(path, snapshot(before))
    except (InputError, TypeError, ValueError) as error:
        raise AssertionError(f"{subject.name}.state_dict cannot be stored: {error}") from error
    loaded, fresh = load_tree(path), other.instance
    resumed = Subject(subject.name, RunPlugins([other]), subject.session)
    resumed.run("setup", resumed.session_offer(), guard=True)
    try:
        fresh.load_state_dict(loaded)
        again = fresh.state_dict()
    except Exception as error:
        raise AssertionError(
            f"{subject.name}.load_state_dict raises {told(error)}: it is called after setup, as when a run is resumed"
        ) from error
    if not _same(again, loaded):
        raise AssertionError(f"{subject.name}: state_dict after load_state_dict is not what was loaded")


def _same(one: Any, other: Any) -> bool:
    import torch

    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
