"""`check_plugin(…, thorough=True)`: the plugin in real runs of a tiny recipe, which take a minute.

Alone and beside every plugin of its kind that ships, with accumulation, in bfloat16, in two processes, and stopped in
the middle of an epoch and resumed, which must give the same bits.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferkit.analysis.run_analyses import RunAnalyses
from transferkit.data import world
from transferkit.errors import InputError, Interrupted
from transferkit.model.folder import save_model
from transferkit.plugins.contained import told
from transferkit.plugins.distributions import Owner
from transferkit.plugins.files import VARIABLE
from transferkit.plugins.options import reference_options
from transferkit.plugins.registry import Component, Registry, installed
from transferkit.recipe import load_recipe, schema, yaml
from transferkit.recipe.places import PLACES, Place
from transferkit.runs.folder import RunFolder
from transferkit.runs.planning import plan_stage
from transferkit.runs.runner import Runner
from transferkit.system.signals import watching
from transferkit.testing.made_up import MadeUpImages, MadeUpModel, made_up_session
from transferkit.testing.tiny import RESNET, SIZE, tiny_model, tiny_source
from transferkit.training.loop import train
from transferkit.training.prepare import opened
from transferkit.training.progress import Display
from transferkit.training.saving import restore
from transferkit.training.state import snapshot

NAME = "under_test"
OWN = "transferkit"
IMAGES = {"train": 12, "val": 6}
WORLD = {"train": 6, "val": 6, "size": SIZE}
EVERYTHING_LINGERS = {"use": "lingering", "dataset": "source", "v_lo": 1000, "p_lo": 0.0, "min_images": 1}
STOP = 2  # a step in the middle of the first epoch
VARIANTS: dict[str, dict[str, Any]] = {
    "with accumulate: 2": {"accumulate": 2},
    "with precision: bf16": {"precision": "bf16"},
    "with ema": {"ema": {"decay": 0.9}},
}
FILE = '''"""Written by check_plugin."""
import transferkit


@transferkit.hookimpl
def transferkit_register(register):
    register.{kind}("{name}", "{target}")
'''


def check_in_runs(component: Component, options: Mapping[str, Any], folder: Path, architecture: str = RESNET) -> None:
    """Raise AssertionError that says in which run what went wrong, and what to do."""
    if component.kind == "analyzer":
        _check_made_up(component, options, folder / "made-up")
    trial = Trial.of(component, options, folder, architecture)
    if component.kind == "detector":  # `interference` finds it by name, among what is installed or a recipe's file
        _check_outside(trial)
        return
    # a model folder names installed plugins only, so layers that cannot be merged are trained and not saved
    kept = component.kind == "adapter" and not component.declared.merges
    with _said(component, "in a whole run of two epochs", "see the traceback"):
        if kept:
            trial.train("whole")
        else:
            trial.run("whole")
    if component.kind in ("analyzer", "edit"):  # they train nothing
        return
    _check_resume(trial)
    for what, keys in VARIANTS.items():
        with _said(component, what, "features and taps come in float32, images and parameters as the stage has them"):
            trial.train(what, stage=keys)
    for other in trial.others():
        with _said(component, f"beside {other.name}", "each may use and change only what it was given"):
            trial.train(other.name, beside=other)
    if not kept:
        _check_outside(trial, processes=2)


def _check_resume(trial: Trial) -> None:
    component, advice = trial.component, "state that setup cannot work out again goes through state_dict"
    with _said(component, "stopped in the middle of an epoch and resumed", advice):
        straight = trial.train("straight")
        trial.train("stopped", stop=STOP)
        resumed = trial.train("stopped")
    differing = [name for name, value in straight.items() if not torch.equal(value, resumed[name])]
    if differing:
        raise AssertionError(
            f"{component.cls.__name__}: stopped in the middle of an epoch and resumed, the run ends with another "
            f"{differing[0]} than without the stop; {advice}, and random numbers come from a key: `rng`, session.rng(…)"
        )


def _check_made_up(component: Component, options: Mapping[str, Any], folder: Path) -> None:
    """An analyzer on answers that are made up: a report, or an InputError that says what it needs."""
    before, after = ["cock", "hen"], ["ants", "bees"]
    session = made_up_session(
        folder,
        images={"source": MadeUpImages(before, [0, 0, 1, 1]), "target": MadeUpImages(after, [0, 1, 1])},
        models={
            "source": MadeUpModel(before, {"source": [[4, 0], [4, 0], [0, 4], [0, 4]]}),
            "target": MadeUpModel(after, {"target": [[2, 0], [0, 2], [2, 0]]}, {"source": [[1, 0]] * 4}),
        },
    )
    with _said(component, "on a made-up session", "raise an InputError for what it needs and is not there"):
        try:
            component.create(options).analyze(session)
        except InputError:
            return


def _check_outside(trial: Trial, processes: int = 1) -> None:
    """A run of the command line, with the class from a file beside the recipe."""
    cls = trial.component.cls
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__ or not _importable(cls):
        return
    file = trial.folder / "outside" / "written_by_check.py"
    file.parent.mkdir(exist_ok=True)
    target = f"{cls.__module__}:{cls.__qualname__}"
    file.write_text(FILE.format(kind=trial.component.kind, name=NAME, target=target), encoding="utf-8")
    recipe = trial.write("outside", {"plugins": [file.name]})
    command = [
        *(sys.executable, *(_launched(processes) if processes > 1 else ())),
        *("-m", "transferkit", "run", str(recipe), "--out", str(trial.folder / "outside-runs"), "--quiet"),
    ]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, VARIABLE: "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        own = takewhile(lambda line: "torch.distributed.elastic" not in line, done.stderr.splitlines())
        lines = [line.strip() for line in own if line.strip()]
        where, advice = (
            ("in two processes", "each has its own images, but all must come to the same steps, and only the first may "
             "write files")
            if processes > 1
            else ("in a whole run", "see what `restore` and the module get under hooks")
        )  # fmt: skip
        raise AssertionError(f"{cls.__name__} fails {where}: {' / '.join(lines[-6:])}; {advice}")


def _launched(processes: int) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={port}"]


def _importable(cls: type) -> bool:
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is cls


@contextmanager
def _said(component: Component, when: str, advice: str) -> Iterator[None]:
    """An exception becomes an AssertionError that says in which run, and what is expected there."""
    try:
        yield
    except Exception as error:
        notes = "; ".join(getattr(error, "__notes__", ()))
        raise AssertionError(
            f"{component.cls.__name__} fails {when}: {told(error)}{f' ({notes})' if notes else ''}; {advice}"
        ) from error


@dataclass(frozen=True)
class Trial:
    """A tiny recipe with the plugin in its place, and what it is tried beside."""

    component: Component
    use: Mapping[str, Any]
    folder: Path
    registry: Registry
    start: Path
    architecture: str

    @classmethod
    def of(cls, component: Component, options: Mapping[str, Any], folder: Path, architecture: str = RESNET) -> Trial:
        """With the class registered beside all that is installed, and a model to start from."""
        known = installed()
        registry = Registry(dict(known.components), list(known.failures), dict(known.owners))
        registry.add(component.kind, NAME, component.cls, Owner(NAME, "under test", "0"))
        start = save_model(folder / "start", tiny_model(world.SOURCE_CLASSES, name=architecture), None, {})
        _write_images(folder / "images")
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
        return cls(component, {"use": NAME, **plain, **_weight(component)}, folder, registry, start, architecture)

    def others(self) -> list[Component]:
        """The plugins of its kind that ship and need no options, where a recipe may name several."""
        place = self._place
        if place.single or self.component.kind == "analyzer":
            return []
        of_kind = [one for one in self.registry.components.values() if one.kind == self.component.kind]
        needless = [one for one in of_kind if not any(info.is_required() for info in one.options.model_fields.values())]
        return [one for one in needless if one.owner.distribution == OWN and one.cls is not self.component.cls]

    @property
    def _place(self) -> Place:
        return next(place for place in PLACES if place.kind == self.component.kind)

    def write(
        self, name: str, top: Mapping[str, Any] = {}, stage: Mapping[str, Any] = {}, beside: Component | None = None
    ) -> Path:
        """The recipe's file."""
        uses = [dict(self.use), *([{"use": beside.name, **_weight(beside)}] if beside is not None else [])]
        target: dict[str, Any] = {"folder": str(self.folder / "images")}
        sections: dict[type, dict[str, Any]] = {schema.Dataset: target, schema.Stage: {}, schema.Recipe: {}}
        if self.component.kind == "reader":
            target.clear()
        if self.component.kind == "analyzer":
            uses[0].setdefault("dataset", "source")
        if self.component.kind == "adapter" and not self.component.declared.merges:
            sections[schema.Stage]["keep_adapted"] = True
        if self.component.kind == "detector":
            table = {
                "use": "interference",
                "dataset": "source",
                "install": True,
                "alpha": 0.5,
                "detectors": uses,
                "deploy": uses[0],
            }
            sections[schema.Recipe]["analyses"] = [EVERYTHING_LINGERS, table]
        else:
            place = self._place
            sections[place.section][place.key] = uses[0] if place.single else uses
        named = [
            self.use[option] for option, what in reference_options(self.component.options).items() if what == "data set"
        ]
        recipe = {
            "name": "check",
            "device": "cpu",
            "model": {"name": self.architecture, "preprocessing": {"input_size": SIZE}},
            "datasets": {
                **{str(one): {"world": {"kind": "source", **WORLD}} for one in ("source", *named)},
                "tiny": target,
            },
            "stages": [
                {
                    "name": "s", "start": str(self.start), "dataset": "tiny", "epochs": 2, "batch_size": 4,
                    "workers": 0, "optimizer": {"name": "momentum", "lr": 0.01},
                }
                | sections[schema.Stage]
                | dict(stage)
            ],
        }  # fmt: skip
        path = self.folder / name / "recipe.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.dump(recipe | sections[schema.Recipe] | dict(top)), encoding="utf-8")
        return path

    def run(self, name: str) -> None:
        """All of it: stage, model folder, analyses."""
        loaded = load_recipe(self.write(name), registry=self.registry)
        with watching() as stop:
            folder = RunFolder.create(self.folder / f"{name}-runs", "check", {"result.json": "{}"})
            Runner(
                loaded, folder, analyses=RunAnalyses, report=lambda *_: None, display=Display(quiet=True), stop=stop
            ).run(["s"])

    def train(
        self,
        name: str,
        *,
        stage: Mapping[str, Any] = {},
        beside: Component | None = None,
        stop: int | None = None,
    ) -> dict[str, Tensor]:
        """Train the stage, or go on with it: every tensor of model, optimizer and the plugin's state at its end."""
        name = "".join(letter if letter.isalnum() else "-" for letter in name)
        loaded = load_recipe(self.write(name, stage=stage, beside=beside), registry=self.registry)
        folder = RunFolder(self.folder / f"{name}-run")
        with watching() as signals:
            plan = plan_stage(loaded, "s", folder, folder, display=Display(quiet=True), stop=signals)
            with opened(plan) as session:
                newest = session.checkpoints.newest()
                if newest is not None:
                    restore(session, newest)
                if stop is not None:
                    session.count_step = partial(_stopping, session.count_step, session, stop)  # type: ignore[method-assign]
                try:
                    train(session)
                except Interrupted:
                    signals.number = 0
                content = {"model": session.model.state_dict(), "optimizer": session.optimizer.state_dict()}
                plugins = {
                    one.name: one.instance.state_dict() for one in plan.plugins if hasattr(one.instance, "state_dict")
                }
                return dict(_tensors("", snapshot(content | {"plugin": plugins})))


def _write_images(folder: Path) -> None:
    """The images that the hooks meet outside runs, of the same classes, so that an option may name one."""
    for split, n in IMAGES.items():
        source = tiny_source(n=n)
        for index, name in enumerate(source.ids):
            path = folder / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            source.image(index).save(path)


def _stopping(count: Callable[[], None], session: Any, step: int) -> None:
    count()
    if session.state.step == step:
        session.stop.number = signal.SIGTERM


def _tensors(at: str, tree: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield at, tree
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for key, value in items:
        yield from _tensors(f"{at}.{key}" if at else str(key), value)


def _weight(component: Component) -> dict[str, Any]:
    weighs = component.kind == "regularizer" and {"penalty", "anchors"} & set(component.hooks)
    return {"weight": 0.01} if weighs else {}
