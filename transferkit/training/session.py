"""One stage, ready to train: the calls that the loop makes, in the loop's order."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from transferkit.data.randomness import key
from transferkit.data.streams import Combined
from transferkit.errors import Interrupted
from transferkit.hooks import RunPlugins
from transferkit.training import diagnostics, saving
from transferkit.training.anchors import WeightedAnchor
from transferkit.training.best import remember
from transferkit.training.checkpoint import Checkpoints
from transferkit.training.evaluation import Evaluation, evaluate
from transferkit.training.examine import broken_anchors
from transferkit.training.fingerprint import Facts, fingerprint
from transferkit.training.metrics import MetricsLog, Totals
from transferkit.training.non_finite import Buffers, refuse_step
from transferkit.training.objective import Losses, Objective
from transferkit.training.offers import EpochOffer, StepOffer, offers_by_stream
from transferkit.training.optimization import learning_rates
from transferkit.training.pictures import log_batch
from transferkit.training.planted import record_corruptions
from transferkit.training.progress import Bar
from transferkit.training.signals import StopSignal
from transferkit.training.stage_plan import StagePlan
from transferkit.training.watching import Scheduled, ask, look
from transferkit.training.workspace import Workspace

if TYPE_CHECKING:
    from timm.data import Mixup
    from timm.scheduler.scheduler import Scheduler
    from timm.utils import ModelEmaV3

    from transferkit.data.batches import Batch, EvalLoader, TrainLoader
    from transferkit.freezing import Freezing
    from transferkit.model import Output, TransferModel
    from transferkit.training.pruning import Pruning

MAX_SKIPPED = 10  # consecutive steps with non-finite numbers that, in fp16, the loss scaler may still recover from


@dataclass
class Session(Workspace):
    """One stage, ready to train."""

    plan: StagePlan
    started_from: str  # a hash of the backbone before training
    wrapped: nn.Module
    loader: TrainLoader
    validation: EvalLoader | None
    others: Mapping[str, EvalLoader]
    early: Mapping[str, EvalLoader]  # what `evaluate_at` looks at
    optimizer: torch.optim.Optimizer
    schedule: Scheduler
    objective: Objective
    anchors: Sequence[WeightedAnchor]
    freezing: Freezing
    plugins: RunPlugins
    checkpoints: Checkpoints
    log: MetricsLog
    stop: StopSignal
    total_steps: int
    mixup: Mixup | None
    ema: ModelEmaV3 | None
    pruning: Pruning | None = None
    scheduled: Sequence[Scheduled] = ()

    def __post_init__(self) -> None:
        self.totals = Totals()
        self._step_end = self.plugins.calls("step_end")
        self._epoch_end = self.plugins.calls("epoch_end")
        self.transform_batch = self.plugins.calls("transform_batch")
        self.combine = self.plugins.calls("combine")
        self._skipped = 0
        self._epoch_started = time.perf_counter()
        self._trained_for = 0.0  # seconds of this epoch without evaluation
        self._waited_for_data = 0.0
        self._features: Tensor | None = None
        self._saved, self._saved_step = time.monotonic(), 0
        self.buffers = Buffers(self.model)
        self._answers: list[tuple[Tensor, Tensor]] = []  # logits and labels of this step
        loaders = (self.loader, self.validation, *self.others.values(), *self.early.values())
        self._loaders = [loader for loader in loaders if loader is not None]
        for loader in self._loaders:
            loader.feed.waiting = self.save_or_stop_alone

    @cached_property
    def fingerprint(self) -> Facts:
        """What a checkpoint of this stage belongs to: recipe, data, versions, machine."""
        return fingerprint(self)

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
    def updates_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return -(-self.loader.steps_per_epoch // self.stage.accumulate)

    @property
    def finished(self) -> bool:
        """Whether the last step is done and its epoch ended, or patience ran out."""
        return (self.state.step >= self.total_steps and not self.state.batch) or self.state.stopped_early

    def begin_epoch(self) -> nn.Module:
        """Open what gradual unfreezing opens, put every module in the mode it trains in; the module to call."""
        if self.freezing.apply(self.model, self.state.epoch):
            self.display.line(f"epoch {self.state.epoch + 1}: {self._trainable()}")
            self._wrap_again()
        self.freezing.train_mode(self.model)
        self._epoch_started = time.perf_counter()
        self._waited_for_data = 0.0
        self.display.begin_epoch(self.state.epoch, self.total_epochs, self.loader.steps_per_epoch, self.state.batch)

        return self.wrapped

    def _wrap_again(self) -> None:
        """DDP knows only the parameters that trained when it was made."""
        if self.accelerator.num_processes > 1:
            inner = self.accelerator.unwrap_model(self.wrapped, keep_torch_compile=True)
            devices = [self.device.index] if self.device.type == "cuda" else None
            self.wrapped = DistributedDataParallel(inner, device_ids=devices, gradient_as_bucket_view=True)

    def _trainable(self) -> str:
        trainable = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        return f"{trainable:,} of {sum(p.numel() for p in self.model.parameters()):,} parameters train"

    def steps(self) -> Iterator[list[Batch]]:
        """The rest of this epoch in groups of `accumulate` batches; a shorter group may end the epoch."""
        group: list[Batch] = []
        batches = self.loader.epoch(self.state.epoch, self.state.batch)
        left = self.loader.steps_per_epoch - self.state.batch
        while left and self.state.step < self.total_steps:
            asked = time.perf_counter()
            group.append(next(batches))
            self._waited_for_data += time.perf_counter() - asked
            left -= 1
            if len(group) == self.stage.accumulate or not left:
                yield group
                group = []

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

    def gradients_meet(self, *, only: bool) -> AbstractContextManager[Any]:
        """Average gradients over processes only in the last micro-batch of a step."""
        return nullcontext() if only else self.accelerator.no_sync(self.wrapped)

    def loss(
        self,
        given: Combined,
        outputs: Mapping[str, Output],
        batch: Batch,
        batches: Sequence[Batch],
    ) -> Losses:
        """The loss of one micro-batch: the task's, plus every penalty with its weight."""
        if "target" in outputs:
            labels = given.labels["target"]
            self._answers.append((outputs["target"].logits.detach(), labels))
            if self._features is None or len(labels) >= len(self._features):  # not a short last batch
                self._features = outputs["target"].features.detach()
        return self.objective(
            outputs,
            given.labels,
            offers_by_stream(self, given, outputs),
            step_total=sum(item.total for item in batches),
            batch_total=batch.total,
            epoch=self.epochs_done,
            weights=given.weights,
            stream_totals=batch.totals,
        )

    def inspect(self, loss: Losses, outputs: Mapping[str, Output]) -> None:
        """Look at the first loss before it is used, and say what will not work."""
        diagnostics.inspect_first_loss(self, loss, next(iter(outputs.values())))

    def check(self, losses: Sequence[Losses], batches: Sequence[Batch], size: Tensor) -> None:
        """Refuse a loss or a gradient (`size` is theirs) that is no number, on every process at once.

        Everything is looked at in one transfer from the device, after anchors and before the weights change.
        """
        numbers = torch.stack([size.float(), *(loss.total.detach().float() for loss in losses)])
        if self.accelerator.num_processes > 1:  # what is not finite on one process is not in the sum
            numbers = self.accelerator.reduce(numbers, "sum")
        known, *of_losses = numbers.tolist()
        if math.isfinite(known) and all(map(math.isfinite, of_losses)):
            self._skipped = 0
            return
        self._skipped += 1
        if self.stage.precision == "fp16" and self._skipped <= MAX_SKIPPED and not broken_anchors(self):
            if not all(map(math.isfinite, of_losses)):
                self.buffers.give_back()  # the forward pass has overflowed, and with it the running statistics
            return  # the scaler has found the gradients infinite, skips the step and lowers the scale
        refuse_step(self, losses, batches)

    def keep_pruned(self) -> None:
        """Pruned weights stay zero, whatever the optimizer did."""
        if self.pruning is not None:
            self.pruning.keep()

    def average_weights(self) -> None:
        """Update the exponential moving average, if the recipe wants one."""
        if self.ema is not None:
            self.ema.update(self.model, step=self.state.step)

    def end_step(self, losses: Sequence[Losses], batches: Sequence[Batch]) -> None:
        """Count, let observers look, show progress."""
        state, images = self.state, sum(batch.total for batch in batches)
        state.batch += len(batches)
        for name, count in (item for batch in batches for item in batch.totals.items()):
            state.seen[name] = state.seen.get(name, 0) + count
        for logits, labels in self._answers:
            self.totals.count(logits, labels)
        self.totals.add(losses, images)
        if self._step_end:
            offer = StepOffer(self, state.step, self.totals.newest())
            for call in self._step_end:
                ask(self, call, offer)
        if self.display.due():
            self.totals.settle()
            running = self.totals.running()
            self.log.scalars(running, state.step, prefix="step/")
            self.display.step(
                state.batch,
                losses=running,
                lr=learning_rates(self.optimizer),
                images=self.totals.images,
                waited=self._waited_for_data,
            )

    def save_or_stop(self) -> None:
        """After a signal: save what there is and leave. Every so many minutes: save. All processes at the same step."""
        every = self.stage.checkpoints.every_minutes
        late = every is not None and time.monotonic() - self._saved > 60 * every
        asked = self.stop.number
        if self.accelerator.num_processes > 1:
            flags = self.accelerator.gather(torch.tensor([[float(asked), float(late)]], device=self.device))
            asked, late = int(flags[:, 0].max()), bool(flags[:, 1].max())
        if (asked or late) and (self.state.batch or self.state.step != self._saved_step):
            self.save(always=True)
        if asked:
            self.checkpoints.settle()
            raise Interrupted(f"stopped at step {self.state.step} of stage {self.stage.name}", asked)

    def save_or_stop_alone(self) -> None:
        """The same where a process waits for data or evaluates; of several, none can leave the others there."""
        if self.accelerator.num_processes == 1:
            self.save_or_stop()

    def evaluate(self) -> dict[str, Evaluation]:
        """Evaluate on validation and on what `evaluate` names, never on test; empty between evaluations."""
        self._trained_for = time.perf_counter() - self._epoch_started
        last = self.state.step >= self.total_steps
        if not last and (self.state.epoch + 1) % self.stage.evaluate_every:
            return {}
        during = {name: loader for name, loader in self.others.items() if name != "test"}
        return self.evaluate_on(self.best_model(), {"val": self.validation, **during})

    def evaluate_on(self, model: TransferModel, loaders: Mapping[str, EvalLoader | None]) -> dict[str, Evaluation]:
        """Evaluate a model on every data set that is there."""
        found = {}
        for name, loader in loaders.items():
            if loader is None:
                continue
            with self.display.task(len(loader.samples), f"evaluate {name}") as bar:
                found[name] = evaluate(
                    model,
                    loader,
                    self.accelerator,
                    len(self.classes),
                    channels_last=self.stage.channels_last,
                    each_batch=partial(self._evaluated, bar),
                )
        return found

    def _evaluated(self, bar: Bar, images: int) -> None:
        """After each batch of an evaluation."""
        bar.advance(images)
        self.save_or_stop_alone()

    def end_epoch(self, found: Mapping[str, Evaluation]) -> None:
        """Write the epoch's records, remember the best, let plugins look, see whether patience ran out."""
        state = self.state
        self.totals.settle()
        records = self._records(found)
        improved = self._remember(found.get("val"), records[0])
        diagnostics.watch(self, found.get("val"), self._features)
        offer = EpochOffer(self, state.epoch, {record["split"]: record for record in records})
        for call in self._epoch_end:
            if extra := ask(self, call, offer):
                records[0].setdefault("plugins", {})[call.plugin.name] = extra
        self.log.epoch(records, found, self.classes)
        self.display.end_epoch(records, improved=improved, waited=self._waited_for_data)
        state.last_losses = self.totals.recent
        self.totals, self._features = Totals(), None
        state.epoch, state.batch = state.epoch + 1, 0

    def analyze(self) -> None:
        """The analyses that are due at the end of this epoch and not done yet; they may be interrupted at once."""
        epoch = self.state.epoch
        for analysis in self.scheduled if epoch > 0 and self.state.batch == 0 else ():
            if epoch % analysis.every:
                continue
            with self.stop.phase(f"analysis {analysis.name} looked at epoch {epoch}"), self.stop.released():
                look(self, analysis, epoch)

    def _records(self, found: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl for this epoch: train first, then what was evaluated."""
        seconds = time.perf_counter() - self._epoch_started
        self.state.seconds += seconds
        body, head = learning_rates(self.optimizer)
        common = {"stage": self.stage.name, "epoch": self.state.epoch, "step": self.state.step}
        train = {"split": "train", "lr": body, "lr_head": head}
        train |= self.totals.record(self.anchors, self.epochs_done, self.accelerator)
        train |= {"seconds": seconds, "images_per_second": self.totals.images / max(self._trained_for, 1e-9)}
        evaluated = [{"split": name, "lr": body, "terms": {}} | e.record(self.classes) for name, e in found.items()]
        return [common | record for record in (train, *evaluated)]

    def _remember(self, validation: Evaluation | None, train: Mapping[str, Any]) -> bool:
        if validation is None and self.validation is not None:
            return False  # an epoch without evaluation
        improved = remember(self.state, self.stage.early_stopping, validation, train)
        if self.state.stopped_early:
            self.display.line(f"stopped early: nothing better in {self.state.waited} evaluations")
        return improved

    def images_seen(self) -> dict[str, int]:
        """How many images of each stream the stage was trained on, over all processes."""
        return {name: self.state.seen.get(name, 0) for name in self.loader.streams}

    def best_model(self) -> TransferModel:
        """The model to keep: the average where there is one."""
        return self.ema.module if self.ema is not None else self.model

    def evaluate_best(self, model: TransferModel) -> dict[str, Evaluation]:
        """Evaluate the finished model on every split the stage knows; test is looked at here only."""
        return self.evaluate_on(model, {"val": self.validation, **self.others})

    def preview(self) -> None:
        """Write down what is planted, and put a picture of the first training batch into TensorBoard."""
        streams = {name: samples for name, samples in self.loader.streams.items() if name != "target"}
        others = {name: loader.samples for name, loader in self.others.items()}
        planted = {"train": self.train_samples, "val": self.validation_samples, **others, **streams}
        record_corruptions(self.out, self.accelerator, planted)
        if self.state.step == 0 and self.accelerator.is_main_process and self.accelerator.trackers:
            log_batch(self.accelerator, self.train_samples, self.model.preprocessing)

    def close(self) -> None:
        """End worker processes and trackers."""
        for loader in self._loaders:
            loader.close()
        self.checkpoints.close()
        for tracker in self.accelerator.trackers:
            with suppress(OSError):  # the curves end where the disk did not take more, which was said then
                tracker.finish()

    def save(self, *, always: bool = False) -> None:
        """Write a checkpoint: at the end of an epoch when one is due, at the end, and when interrupted."""
        saving.save(self, always=always)

    def saved(self) -> None:
        """A checkpoint has begun: the next one by time is due so many minutes from now."""
        self._saved, self._saved_step = time.monotonic(), self.state.step
