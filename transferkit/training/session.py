"""One stage, ready to train, with all that it is made of: what the parts of the training share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from transferkit.data.randomness import key
from transferkit.training.anchors import WeightedAnchor
from transferkit.training.buffers import Buffers
from transferkit.training.checkpoint import Checkpoints
from transferkit.training.fingerprint import Facts, data_facts, machine_facts, recipe_facts, version_facts
from transferkit.training.metrics import MetricsLog, Totals
from transferkit.training.objective import Losses, Objective
from transferkit.training.offers import penalty_offers
from transferkit.training.recomputing import recomputing
from transferkit.training.stage_plan import StagePlan
from transferkit.training.workspace import Session

if TYPE_CHECKING:
    from timm.data import Mixup
    from timm.scheduler.scheduler import Scheduler
    from timm.utils import ModelEmaV3

    from transferkit.data.batches import Batch, EvalLoader
    from transferkit.data.samples import Samples
    from transferkit.data.streams import Combined
    from transferkit.model.freezing import Freezing
    from transferkit.model.wrapper import Output, TransferModel
    from transferkit.plugins.hooks import Plugin


@dataclass
class TrainingSession(Session, ABC):
    """A session with what the core alone may touch. `Trainer` is one that trains."""

    plan: StagePlan
    started_from: str  # a hash of the backbone before training
    wrapped: nn.Module
    validation: EvalLoader | None
    others: Mapping[str, EvalLoader]
    early: Mapping[str, EvalLoader]  # what `evaluate_at` looks at
    optimizer: torch.optim.Optimizer
    schedule: Scheduler
    objective: Objective
    anchors: Sequence[WeightedAnchor]
    freezing: Freezing
    checkpoints: Checkpoints
    log: MetricsLog
    mixup: Mixup | None
    ema: ModelEmaV3 | None

    def __post_init__(self) -> None:
        self.plugins, self.stop, self.scheduled = self.plan.plugins, self.plan.stop, self.plan.scheduled
        self.totals = Totals()
        self.transform_batch = self.plugins.calls("transform_batch")
        self.combine = self.plugins.calls("combine")
        self.buffers = Buffers(self.model)
        self.recomputing = recomputing(self.model, self.stage.gradient_checkpointing)
        self.replaced: dict[str, Plugin] = {}  # which plugin gave the gradient of a parameter in the newest step
        self._features: Tensor | None = None
        self._answers: list[tuple[Tensor, Tensor]] = []  # logits and labels of this step
        self._saved, self._saved_step = time.monotonic(), 0

    @cached_property
    def fingerprint(self) -> Facts:
        """What a checkpoint of this stage belongs to: plain values, for JSON."""
        of_plan = {"recipe": recipe_facts(self.plan), "versions": version_facts(self.plan)}
        return of_plan | {"data": data_facts(self), "machine": machine_facts(self)}

    @property
    def finished(self) -> bool:
        """Whether the last step is done and its epoch ended, or patience ran out."""
        return (self.state.step >= self.total_steps and not self.state.batch) or self.state.stopped_early

    @property
    def every_split(self) -> dict[str, Samples]:
        """The images of every split and data set that the stage trains on or evaluates on, by name."""
        streams = {name: samples for name, samples in self.loader.streams.items() if name != "target"}
        others = {name: loader.samples for name, loader in self.others.items()}
        own = {"train": self.train_samples, "val": self.validation_samples}
        return {name: samples for name, samples in (own | others | streams).items() if samples is not None}

    def parameter_counts(self) -> dict[str, int]:
        """How many numbers the model's parameters have (`all`), train now (`trained`), and adapters added (`added`)."""
        every = list(self.model.parameters())
        return {
            "all": sum(p.numel() for p in every),
            "trained": sum(p.numel() for p in every if p.requires_grad),
            "added": sum(p.numel() for _, p in self.model.named_adapter_parameters()),
        }

    def best_model(self) -> TransferModel:
        """The model to keep: the average where there is one."""
        return self.ema.module if self.ema is not None else self.model

    def begin_step(self) -> None:
        """Key torch's global generators to the step: what dropout draws does not depend on what came before.

        Running statistics are kept, so that a step that is refused can give them back.
        """
        self.buffers.keep()
        self._answers = []
        value = key(self.seed, self.stage.name, "step", self.state.step, self.accelerator.process_index)
        # torch.manual_seed would also format a stack trace for every kind of device that is not in use: 0.1 ms
        torch.default_generator.manual_seed(value)
        if self.device.type != "cpu":
            getattr(torch, self.device.type).manual_seed(value)

    def loss(self, given: Combined, outputs: Mapping[str, Output], batch: Batch, batches: Sequence[Batch]) -> Losses:
        """The loss of one micro-batch: the task's, plus every penalty with its weight."""
        if "target" in outputs:
            labels = given.labels["target"]
            self._answers.append((outputs["target"].logits.detach(), labels))
            if self._features is None or len(labels) >= len(self._features):  # not a short last batch
                self._features = outputs["target"].features.detach()
        return self.objective(
            outputs,
            given.labels,
            penalty_offers(self, batch, given, outputs),
            step_total=sum(item.total for item in batches),
            batch_total=batch.total,
            epoch=self.epochs_done,
            weights=given.weights,
            stream_totals=batch.totals,
        )

    def saved(self) -> None:
        """A checkpoint has begun: the next one by time is due so many minutes from now."""
        self._saved, self._saved_step = time.monotonic(), self.state.step

    @abstractmethod
    def save(self, *, always: bool = False) -> None:
        """Write a checkpoint: at the end of an epoch when one is due, at the end, and when interrupted."""
