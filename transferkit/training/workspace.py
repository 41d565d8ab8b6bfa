"""What plugins find in `session`: the stage's model, data, randomness, and ways to speak to the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, distributed

from transferkit.data.randomness import numpy_rng
from transferkit.recipe import schema
from transferkit.training.cache import Cache
from transferkit.training.progress import Bar, Display

if TYPE_CHECKING:
    from transferkit.data.batches import TrainLoader
    from transferkit.data.samples import Samples
    from transferkit.model.wrapper import SourceHead, TransferModel


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
    plugins: dict[str, dict[str, float]] = field(default_factory=dict)  # what their epoch_end said last
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
    spoken: set[str] = field(default_factory=set, kw_only=True)  # standing warnings that were said

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

    def standing(self, about: str, text: str | None, *, aloud: bool) -> None:
        """A warning that holds for now, with the words `about` in it, or None where it does not hold any more.

        The summary and the report have it only where it held to the end: that is worth acting on. Said now if `aloud`,
        once for as long as it holds.
        """
        self.state.warnings = [said for said in self.state.warnings if about not in said]
        if text is None:
            self.spoken.discard(about)
            return
        self.state.warnings.append(text)
        if aloud and about not in self.spoken:
            self.spoken.add(about)
            self.display.warn(text)

    def cached(self, facts: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors worth keeping, on the CPU, under the facts they follow from: JSON values that name everything.

        Put `model_digest(reference)` in for a model and `samples.fingerprint()` for images. The first process
        computes what is not known; all have the very same result. A file of the cache that is damaged is warned of.
        """
        first = self.accelerator.is_main_process
        if not first:
            self.accelerator.wait_for_everyone()
        try:
            found = Cache(self.cache / "results").get(facts, compute, warn=self.warn)
        finally:  # also after an error, which the others then find themselves
            if first:
                self.accelerator.wait_for_everyone()
        if self.accelerator.num_processes == 1:
            return found
        return {name: self._agreed(found[name]) for name in sorted(found)}  # a file has them in another order

    def _agreed(self, tensor: Tensor) -> Tensor:
        """The first process's: where the cache cannot be written, sums on a GPU may differ in their last digits."""
        shape = torch.tensor([1, *tensor.shape], device=self.device)  # never empty, which a network would not send
        distributed.broadcast(shape, 0)
        value = tensor if self.accelerator.is_main_process else torch.empty(shape.tolist()[1:], dtype=tensor.dtype)
        shared = value.to(self.device)
        distributed.broadcast(shared, 0)
        return shared.cpu()

    def progress(self, total: int, description: str) -> AbstractContextManager[Bar]:
        """A progress display for work of your own: `with session.progress(n, "…") as bar: bar.advance(1)`."""
        return self.display.task(total, description)


@dataclass
class Session(Workspace):
    """One stage, ready to train, as its plugins see it: from `setup` to `teardown`."""

    loader: TrainLoader
    total_steps: int

    @cached_property
    def groups(self) -> dict[str, Tensor]:
        """{stream: (n,) the group of each of its samples}, on the device; made when a plugin asks."""
        streams = self.loader.streams
        return {name: torch.from_numpy(samples.groups).to(self.device) for name, samples in streams.items()}

    @property
    def epochs_done(self) -> float:
        """How far the training is, in epochs."""
        return self.state.epoch + self.state.batch / self.loader.steps_per_epoch

    @property
    def progress_made(self) -> float:
        """The share of all steps that are done."""
        return self.state.step / self.total_steps

    @property
    def total_epochs(self) -> int:
        """How many epochs it takes, the last one perhaps in part."""
        return -(-self.total_steps // self.updates_per_epoch)

    @property
    def passes_per_epoch(self) -> int:
        """Forward passes per epoch, `accumulate` of which make an optimizer step."""
        return self.loader.steps_per_epoch

    @property
    def updates_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return -(-self.loader.steps_per_epoch // self.stage.accumulate)
