"""What a plugin finds in `session`: the stage's model, data, randomness, and ways to speak to the user."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator

from transferkit.data.randomness import numpy_rng
from transferkit.recipe import schema
from transferkit.training.progress import Bar, Display

if TYPE_CHECKING:
    from transferkit.data.samples import Samples
    from transferkit.model import SourceHead, TransferModel


@dataclass
class State:
    """Where a stage stands. All of it is in a checkpoint; nothing else is needed to go on exactly."""

    step: int = 0
    steps_before: int = 0  # of the stages whose schedule goes on in this one
    epoch: int = 0
    batch: int = 0  # forward passes done in this epoch
    evaluated_at: int = -1  # the last step of `evaluate_at` whose records are written
    best: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    waited: int = 0  # evaluations since the best
    seconds: float = 0.0
    stopped_early: bool = False
    last_losses: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed_analyses: dict[str, list[int]] = field(default_factory=dict)  # after which epochs, counted from 1
    seen: dict[str, int] = field(default_factory=dict)  # images of each stream trained on, over all processes


@dataclass
class Workspace:
    """A stage before its loaders exist: what `streams(session)` gets, and what every later session also has."""

    stage: schema.Stage
    seed: int
    out: Path
    cache: Path
    accelerator: Accelerator
    model: TransferModel
    reference: TransferModel | None
    source_head: SourceHead | None
    train_samples: Samples
    validation_samples: Samples | None
    open_samples: Callable[[str, str], Samples]  # (data set, split) with this stage's preprocessing
    display: Display
    state: State

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def classes(self) -> list[str]:
        """The target's class names by label."""
        return self.model.classes

    def rng(self, *parts: str | int) -> np.random.Generator:
        """A generator that depends on the seed, the stage and `parts` alone."""
        return numpy_rng(self.seed, self.stage.name, *parts)

    def warn(self, text: str) -> None:
        """Say it now, and once more in the summary and the report."""
        if text not in self.state.warnings:
            self.state.warnings.append(text)
            self.display.warn(text)

    def progress(self, total: int, description: str) -> AbstractContextManager[Bar]:
        """A progress display for work of your own: `with session.progress(n, "…") as bar: bar.advance(1)`."""
        return self.display.task(total, description)
