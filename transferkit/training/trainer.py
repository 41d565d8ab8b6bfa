"""A stage as it trains: the calls that the loop makes, in the loop's order."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from transferkit.errors import Interrupted
from transferkit.plugins.contained import told
from transferkit.plugins.hooks import Call
from transferkit.recipe.selection import selection_of
from transferkit.system.signals import Stopped
from transferkit.training import diagnostics, saving, tracking
from transferkit.training.changes import projection, replace_gradients
from transferkit.training.epoch_lines import scores
from transferkit.training.evaluation import Evaluation, evaluate, remember
from transferkit.training.examine import broken_anchors
from transferkit.training.lent import Watch
from transferkit.training.metrics import Totals
from transferkit.training.non_finite import refuse_step
from transferkit.training.objective import Losses
from transferkit.training.optimization import learning_rates
from transferkit.training.pictures import log_batch, record_corruptions
from transferkit.training.progress import Bar
from transferkit.training.session import TrainingSession

if TYPE_CHECKING:
    from transferkit.data.batches import Batch, EvalLoader
    from transferkit.model.wrapper import TransferModel
    from transferkit.training.stage_plan import Scheduled

MAX_SKIPPED = 10  # consecutive steps with non-finite numbers that, in fp16, the loss scaler may still recover from


@dataclass
class Trainer(TrainingSession):
    """A session that trains its stage."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._step_end = self.plugins.calls("step_end")
        self._epoch_end = self.plugins.calls("epoch_end")
        self.watch = Watch(self)
        self._metrics = self.plugins.calls("score")
        self._selection = selection_of(self.stage.select, self.plugins)
        self._gradients = self.plugins.calls("gradients")
        self.projection = projection(self)
        self._skipped = 0
        self._epoch_started = time.perf_counter()
        self._trained_for = 0.0  # seconds of this epoch without evaluation
        self._waited_for_data = 0.0
        self._images_before = 0  # of this epoch, by the process that was stopped in it
        loaders = (self.loader, self.validation, *self.others.values(), *self.early.values())
        self._loaders = [loader for loader in loaders if loader is not None]
        for loader in self._loaders:
            loader.feed.waiting = self.save_or_stop_alone

    def begin_epoch(self) -> nn.Module:
        """Open what gradual unfreezing opens, put every module in the mode it trains in; the module to call."""
        if self.freezing.apply(self.model, self.state.epoch):
            counts = [(p.numel(), p.requires_grad) for p in self.model.parameters()]
            trainable, every = sum(size for size, trains in counts if trains), sum(size for size, _ in counts)
            self.display.line(f"epoch {self.state.epoch + 1}: {trainable:,} of {every:,} parameters train")
            self._wrap_again()
        self.freezing.train_mode(self.model)
        if self._step_end:
            self.watch.begin_epoch()
        self._epoch_started = time.perf_counter()
        self._waited_for_data = 0.0
        self._images_before = self.totals.images
        self.display.begin_epoch(self.state.epoch, self.total_epochs, self.loader.steps_per_epoch, self.state.batch)
        return self.wrapped

    def _wrap_again(self) -> None:
        """DDP knows only the parameters that trained when it was made."""
        if self.accelerator.num_processes > 1:
            inner = self.accelerator.unwrap_model(self.wrapped, keep_torch_compile=True)
            devices = [self.device.index] if self.device.type == "cuda" else None
            self.wrapped = DistributedDataParallel(inner, device_ids=devices, gradient_as_bucket_view=True)

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

    def change_gradients(self) -> None:
        """Put in place what plugins make of the gradients."""
        if self._gradients:
            self.replaced = replace_gradients(self._gradients, self)

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

    def count_step(self) -> None:
        """The weights are new, and the average follows."""
        self.state.step += 1
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
            offer = SimpleNamespace(session=self.watch.lent, step=state.step, losses=self.totals.newest())
            for call in self._step_end:
                self._ask(call, offer, closely=state.batch == len(batches))  # in an epoch's first step
        if self.display.due():
            self.totals.settle()
            running = self.totals.running()
            self.log.scalars(running, state.step, prefix="step/")
            self.display.step(
                state.batch,
                losses=running,
                lr=learning_rates(self.optimizer),
                images=self.totals.images - self._images_before,
                waited=self._waited_for_data,
            )

    def _ask(self, call: Call, offers: object, *, closely: bool) -> dict[str, Any]:
        """The numbers that an observer returns, which go to the trackers. An error in them says whose they are."""
        try:
            values = dict(self.watch.call(call, offers, closely=closely) or {})
            self.log.scalars(values, self.state.step, prefix=f"{call.plugin.name}/")
        except (AttributeError, TypeError, ValueError) as error:
            if not getattr(error, "__notes__", ()):  # it was not raised inside the plugin
                error.add_note(f"in what {call.hook} of the {call.plugin} returned, which must be {{name: number}}")
            raise
        return values

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

    def evaluate_start(self) -> None:
        """Before the first step: what `evaluate_at: [0]` asks for, and a head that classifies already.

        A ridge head, or the source's own, is a candidate for the best, as epoch -1.
        """
        state = self.state
        if state.step > 0 or state.best is not None:
            self.evaluate_early()  # which a signal may have ended
            return
        self.log.rewind(self.stage.name, -1)  # an attempt that never came to a checkpoint
        self.evaluate_early()
        if self.stage.head_init not in ("ridge", "source") or self.validation is None:
            return
        state.epoch = -1
        found = self.evaluate_on(self.model, {"val": self.validation})["val"]
        remember(state, self.stage.early_stopping, found, {}, self._selection)
        rate = learning_rates(self.optimizer)[0]
        record = self._place("val") | {"terms": {}, "lr": rate} | found.record(self.classes)
        self.log.epoch([record], {}, self.classes)
        self.display.line(f"before training: val {scores(record)}, which is to be beaten")
        state.epoch = 0
        self.save()

    def evaluate_early(self) -> None:
        """Where `evaluate_at` names this step: look at a fixed part of every data set. Lines of early_steps.jsonl."""
        state = self.state
        if state.step in self.stage.evaluate_at and state.evaluated_at != state.step:
            found = self.evaluate_on(self.best_model(), self.early)
            self.log.early([self._place(name) | one.record(self.classes) for name, one in found.items()])
            state.evaluated_at = state.step

    def _place(self, split: str) -> dict[str, Any]:
        """What every record begins with."""
        return {"stage": self.stage.name, "epoch": self.state.epoch, "step": self.state.step, "split": split}

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
            said = self.stop.doing("finishing this batch, then saving")
            with said, self.display.task(len(loader.samples), f"evaluate {name}") as bar:
                found[name] = evaluate(
                    model,
                    loader,
                    self.accelerator,
                    len(self.classes),
                    channels_last=self.stage.channels_last,
                    each_batch=partial(self._after_batch, bar),
                    metrics=self._metrics,
                )
        return found

    def _after_batch(self, bar: Bar, images: int) -> None:
        bar.advance(images)
        self.save_or_stop_alone()

    def end_epoch(self, found: Mapping[str, Evaluation]) -> None:
        """Write the epoch's records, remember the best, let plugins look, see whether patience ran out."""
        state = self.state
        self.totals.settle()
        records = self._records(found)
        validation, improved = found.get("val"), False
        if validation is not None or self.validation is None:  # not an epoch without evaluation
            improved = remember(state, self.stage.early_stopping, validation, records[0], self._selection)
            if state.stopped_early:
                self.display.line(f"stopped early: nothing better in {state.waited} evaluations")
        diagnostics.watch(self, validation, self._features)
        diagnostics.warn_of_unused(self, records[0]["terms"])
        offer = SimpleNamespace(
            session=self.watch.lent, epoch=state.epoch, metrics={record["split"]: record for record in records}
        )
        self.watch.end_epoch(self._step_end)
        for call in self._epoch_end:
            if extra := self._ask(call, offer, closely=True):
                records[0].setdefault("plugins", {})[call.plugin.name] = extra
                state.plugins[call.plugin.name] = {name: float(value) for name, value in extra.items()}
        self.log.epoch(records, found, self.classes)
        trained = self.totals.images - self._images_before
        self.display.end_epoch(records, improved=improved, waited=self._waited_for_data, images=trained)
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
                self._look(analysis, epoch)

    def _look(self, analysis: Scheduled, epoch: int) -> None:
        """An analysis looks at a copy of the model. One that fails costs its report after this epoch, nothing else."""
        try:
            report = analysis.analyze(live=(self.best_model(), self.source_head), epoch=epoch)
            if report is not None:  # it was there already
                self.log.scalars(report.numbers, self.state.step, prefix=f"{analysis.name}/")
        except (Interrupted, KeyboardInterrupt, Stopped):
            raise
        except BaseException as error:
            self.warn(f"the analysis {analysis.name} failed while the stage trained: {told(error)}")
            self.display.record(f"after epoch {epoch}: {''.join(traceback.format_exception(error))}")
            self.state.failed_analyses.setdefault(analysis.name, []).append(epoch)

    def _records(self, found: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl for this epoch: train first, then what was evaluated."""
        seconds = time.perf_counter() - self._epoch_started
        self.state.seconds += seconds
        body, head = learning_rates(self.optimizer)
        train = self._place("train") | {"lr": body, "lr_head": head}
        train |= self.totals.record(self.anchors, self.epochs_done, self.accelerator)
        trained = self.totals.images - self._images_before
        train |= {"seconds": seconds, "images_per_second": trained / max(self._trained_for, 1e-9)}
        common = {"lr": body, "terms": {}}
        return [train, *(self._place(name) | common | one.record(self.classes) for name, one in found.items())]

    def evaluate_best(self, model: TransferModel) -> dict[str, Evaluation]:
        """Evaluate the finished model on every split the stage knows; test is looked at here only."""
        return self.evaluate_on(model, {"val": self.validation, **self.others})

    def preview(self) -> None:
        """Write down what is planted, and a picture of training images, which TensorBoard gets as well."""
        record_corruptions(self.out, self.accelerator, self.every_split)
        if self.state.step == 0 and self.accelerator.is_main_process:
            log_batch(self.out, self.accelerator, self.train_samples, self.model.preprocessing)

    def close(self) -> None:
        """End worker processes and trackers."""
        for loader in self._loaders:
            loader.close()
        self.checkpoints.close()
        tracking.close(self.accelerator.trackers)

    def save(self, *, always: bool = False) -> None:
        """Write a checkpoint: at the end of an epoch when one is due, at the end, and when interrupted."""
        saving.save(self, always=always)
