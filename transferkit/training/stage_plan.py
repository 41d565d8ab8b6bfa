"""What a runner knows about a stage before it is prepared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.hooks import RunPlugins
from transferkit.recipe import schema
from transferkit.training.progress import Display
from transferkit.training.signals import StopSignal

if TYPE_CHECKING:
    from transferkit.training.watching import Scheduled


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
