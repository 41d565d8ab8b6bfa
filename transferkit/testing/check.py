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

import torch
from pydantic import ValidationError

from transferkit.errors import InputError
from transferkit.plugins.contained import told
from transferkit.plugins.distributions import Owner
from transferkit.plugins.hooks import Plugin, RunPlugins, check_signatures
from transferkit.plugins.kinds import Kind
from transferkit.plugins.registry import Component
from transferkit.recipe.places import PLACES
from transferkit.recipe.sections import keys_of
from transferkit.recipe.uses import PluginUse
from transferkit.report import Report
from transferkit.testing.annotations import check_annotations
from transferkit.testing.check_adapter import check_adapt
from transferkit.testing.check_data import (
    check_corrupt,
    check_manifest,
    check_mix,
    check_select,
    check_transform_batch,
)
from transferkit.testing.check_detector import check_fit
from transferkit.testing.check_edit import check_edit
from transferkit.testing.check_forward import check_combine, check_transform_features
from transferkit.testing.check_metric import check_score
from transferkit.testing.check_reading import check_augment, check_read
from transferkit.testing.check_regularizer import check_anchors, check_penalty
from transferkit.testing.check_step import check_gradients, check_loss, check_parameters, check_project
from transferkit.testing.in_runs import check_in_runs
from transferkit.testing.subject import Hook, Subject
from transferkit.testing.tiny import RESNET, tiny_analysis, tiny_model, tiny_session
from transferkit.training.state import load_tree, save_tree, snapshot
from transferkit.words.kinds import reason, type_of

STRANGE = "no_such_option"
KINDS: dict[str, Kind] = {
    "penalty": "regularizer",
    "anchors": "regularizer",
    "transform_features": "regularizer",
    "corrupt": "corruption",
    "streams": "curriculum",
    "mix": "curriculum",
    "combine": "curriculum",
    "augment": "augmentation",
    "score": "metric",
    "read": "reader",
    "edit": "edit",
    "fit": "detector",
    "restore": "detector",
    "loss": "loss",
    "gradients": "regularizer",
    "project": "regularizer",
    "analyze": "analyzer",
    "adapt": "adapter",
}


def check_plugin(cls: type, /, *, thorough: bool = False, architecture: str = RESNET, **options: Any) -> None:
    """Check a plugin class with these options against everything its hooks promise, in seconds.

    `thorough`: also in real runs of a tiny recipe, which takes a minute: alone and beside every plugin of its kind that
    ships, with accumulation, in bfloat16, in two processes, stopped and resumed.

    `architecture`: timm's name of the network that it is tried on, for a plugin that is made for others than a small
    ResNet: `test_vit`, `test_convnext`, …

    An option that names a class of the data set: its classes are cat, dog and owl.

    Raises AssertionError with a sentence about the first promise that is broken.
    """
    component = check_class(cls, options)
    check_import(cls)
    plugins = RunPlugins([Plugin(component.kind, component.name, _create(component, options), component)])
    with tempfile.TemporaryDirectory() as folder:
        subject = _prepare(plugins, component, Path(folder), architecture)
        check_parameters(subject)
        subject.run("setup")
        for name, check in CHECKS.items():
            hook = subject.hook(name)
            if hook is not None:
                check(hook)
        _check_state(subject, Plugin(component.kind, component.name, _create(component, options), component))
        subject.run("teardown", error=None)
        if thorough:
            check_in_runs(component, options, Path(folder), architecture)


def check_class(cls: type, options: Mapping[str, Any]) -> Component:
    """Hooks, signatures and options of the class; returns it as a component of the kind its hooks suggest."""
    try:
        check_signatures(cls)
    except InputError as error:
        raise AssertionError(str(error)) from error
    check_annotations(cls)
    kind: Kind = next((kind for hook, kind in KINDS.items() if callable(getattr(cls, hook, None))), "observer")
    component = Component(kind, cls.__name__.lower(), cls, Owner(cls.__name__, "under test", "0"))
    _create(component, options)
    uses = [place.use for place in PLACES if place.kind == kind] or [PluginUse]
    if taken := sorted(set(component.options.model_fields) & {key for use in uses for key in keys_of(use)}):
        raise AssertionError(f"{cls.__name__} has an option called {taken[0]}, which every {kind} has; rename it")
    try:
        component.create({**options, STRANGE: 1})
    except ValidationError:
        return component
    raise AssertionError(f"{cls.__name__} accepts an option it does not have; make it a plain @dataclass")


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


def _prepare(plugins: RunPlugins, component: Component, folder: Path, architecture: str) -> Subject:
    """Taps and a session, in the order of a run."""
    taps = plugins.calls("taps")
    name = component.cls.__name__
    try:
        found = (lambda model: _names(taps[0](SimpleNamespace(model=model)), name)) if taps else None
        session = tiny_session(folder, model=tiny_model(name=architecture), taps=found)
    except InputError as error:
        advice = f'give options that fit {architecture}, or another network: check_plugin(…, architecture="test_vit")'
        raise AssertionError(f"{name}.taps: {error}; {advice}") from error
    return Subject(name, plugins, session)


def _names(value: Any, name: str) -> list[str]:
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise AssertionError(f"{name}.taps must return a list of layer names")
    return list(value)


def check_step_end(hook: Hook) -> None:
    """Numbers by name, or nothing."""
    hook.subject.session.model.train()  # as in a run: a pass in this mode moves the statistics of batch norm
    for step in (1, 100):  # what is returned now and then is returned then
        _require_numbers(hook, hook(session=hook.subject.session, step=step, losses={"task": torch.tensor(1.0)}))


def check_epoch_end(hook: Hook) -> None:
    """Numbers by name, or nothing."""
    hook.subject.session.model.train()  # as in a run
    metrics = {"train": {"loss": 1.0, "top1": 0.5}, "val": {"loss": 1.0, "top1": 0.5, "per_class": {}}}
    _require_numbers(hook, hook(session=hook.subject.session, epoch=0, metrics=metrics))


def _require_numbers(hook: Hook, value: Any) -> None:
    kinds = int | float | torch.Tensor
    if value is None or (isinstance(value, Mapping) and all(isinstance(item, kinds) for item in value.values())):
        return
    raise hook.broken(f"must return {{name: number}} or nothing, not {value!r}")


def check_analysis(hook: Hook) -> None:
    """`analyze` returns a Report that can be written."""
    subject, session = (
        hook.subject,
        tiny_analysis(hook.subject.session.out / "analyses", architecture=hook.subject.session.model.architecture),
    )
    value = hook(session=session)
    if not isinstance(value, Report):
        raise hook.broken(f"must return a transferkit.Report, not {type_of(value)}")
    try:
        value.write(session.out, name="check", plugin=subject.name, version="0", parameters={})
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{hook.where}: the report cannot be written: {reason(error)}") from error
    _check_metrics(hook, value)
    missing = [name for name in value.figures if not (session.out / name).is_file()]
    if missing:
        raise hook.broken(f"names figures it did not write into session.out: {missing}")


def _check_metrics(hook: Hook, report: Report) -> None:
    """What it returns is what the class declares; what could not be measured is left out or NaN, and a gap says why."""
    declared, returned = hook.subject.plugin.component.declared.metric_keys, list(report.numbers)
    if declared and (unknown := [key for key in returned if key not in declared]):
        raise hook.broken(f"returns what the class does not declare as metrics: {', '.join(unknown)}")
    if not (missing := [key for key in declared if key not in returned]):
        return
    if not report.gaps:
        raise hook.broken(
            f"does not return what the class declares as metrics: {', '.join(missing)}; what cannot be measured "
            "is a gap, with the reason"
        )
    warnings.warn(
        f"{hook.where} measures nothing of {', '.join(missing)} on the tiny session ({report.gaps[0]}), so it was not "
        "checked that it can; give options that fit two images of each class, and test it on made_up_session",
        stacklevel=4,
    )


CHECKS = {
    "adapt": check_adapt,
    "penalty": check_penalty,
    "anchors": check_anchors,
    "corrupt": check_corrupt,
    "manifest": check_manifest,
    "select": check_select,
    "augment": check_augment,
    "score": check_score,
    "read": check_read,
    "transform_batch": check_transform_batch,
    "mix": check_mix,
    "combine": check_combine,
    "transform_features": check_transform_features,
    "loss": check_loss,
    "gradients": check_gradients,
    "project": check_project,
    "step_end": check_step_end,
    "epoch_end": check_epoch_end,
    "edit": check_edit,
    "fit": check_fit,
    "analyze": check_analysis,
}


def _check_state(subject: Subject, other: Plugin) -> None:
    """State goes through JSON and safetensors and into another instance, which is set up first, as in a run."""
    instance = subject.plugin.instance
    has = [name for name in ("state_dict", "load_state_dict") if callable(getattr(instance, name, None))]
    if not has:
        return
    if len(has) == 1:
        raise AssertionError(f"{subject.name} has {has[0]} but not the other of state_dict and load_state_dict")
    path = subject.session.out / "state"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = instance.state_dict()
    try:
        save_tree(path, snapshot(before))
    except (InputError, TypeError, ValueError) as error:
        raise AssertionError(f"{subject.name}.state_dict cannot be stored: {reason(error)}") from error
    loaded, fresh = load_tree(path), other.instance
    resumed = Subject(subject.name, RunPlugins([other]), subject.session)
    resumed.run("setup")
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
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
