"""What a runner knows about a stage before it is prepared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.plugins.hooks import RunPlugins
from transferkit.recipe import schema
from transferkit.system.signals import StopSignal
from transferkit.training.progress import Display

if TYPE_CHECKING:
    from transferkit.report import Report


@dataclass(frozen=True)
class Scheduled:
    """An analysis that looks at a copy of the model every so many epochs."""

    name: str
    every: int
    analyze: Callable[..., Report | None]  # None where its report is there already


@dataclass
class StagePlan:
    """A stage, its plugins, and where it writes."""

    recipe: schema.Recipe
    stage: schema.Stage
    plugins: RunPlugins
    corruptions: Mapping[str, RunPlugins]  # {data set: its corruptions}
    seed: int
    out: Path  # runs/…/stages/NAME
    start: Path | None  # the model folder it starts from, if it starts from one
    display: Display
    stop: StopSignal
    board: Path | None = None
    scheduled: Sequence[Scheduled] = ()
    accept: Collection[str] = ()  # kinds of differences from a checkpoint that are meant
    extended: bool = False  # a finished stage is trained on
    find_model: Callable[[str], Path] = Path  # the model folder that a path means
    find_source: Callable[[], Path | schema.Model | None] = lambda: None  # what the training before it started from
