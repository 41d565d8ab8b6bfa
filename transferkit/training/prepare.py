"""From a stage of a recipe to a Trainer: data, model, reference, plugins, loaders, objective, optimizer, in order."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from types import SimpleNamespace

import torch
from timm.utils import ModelEmaV3
from torch import nn

from transferkit.data.randomness import seeded
from transferkit.errors import InputError
from transferkit.model.digest import backbone_digest
from transferkit.model.freezing import Freezing
from transferkit.plugins.contained import told
from transferkit.system.atomic import cache_folder, make_folder
from transferkit.system.memory import enough_memory, smaller_batch
from transferkit.system.signals import TO_STOP
from transferkit.training import loaders
from transferkit.training.adapters import adapt
from transferkit.training.changes import project_start
from transferkit.training.checkpoint import Checkpoints
from transferkit.training.datasets import open_samples, open_sources, stage_data
from transferkit.training.devices import make_accelerator
from transferkit.training.lone_images import explaining_lone_images, refuse_lone_images
from transferkit.training.metrics import MetricsLog
from transferkit.training.objective import make_anchors, make_objective
from transferkit.training.optimization import make_optimizer, make_schedule
from transferkit.training.owned import add_own
from transferkit.training.recomputing import recompute
from transferkit.training.stage_plan import StagePlan
from transferkit.training.starting_model import initialise_head, reference_model, starting_model, take_over
from transferkit.training.tracking import open_trackers
from transferkit.training.trainer import Trainer
from transferkit.training.workspace import State, Workspace
from transferkit.words.doors import call


def prepare(plan: StagePlan) -> Trainer:
    """Build everything the loop needs. Raises InputError for what only the real data and model can tell."""
    stage, state = plan.stage, State()
    make_folder(plan.out)
    accelerator = make_accelerator(plan.recipe, stage, plan.display.warn)
    if stage.auto_batch and accelerator.num_processes > 1:  # one that is short of memory would leave the others waiting
        raise InputError("auto_batch is for one process; give several a batch_size that fits, and accumulate")

    with seeded(plan.seed, stage.name, "initialise"):
        sources = open_sources(plan)
        model, source_head = starting_model(plan, sources.classes)
        data = stage_data(plan, sources, model.preprocessing)
        start = adapt(plan, model, source_head)
        for plugin in plan.plugins.calls("taps"):
            model.tap(plugin(SimpleNamespace(model=model)))
        model.to(accelerator.device)
        model.stream_batchnorm = start.stream_batchnorm = stage.stream_batchnorm
        start.tap(model.tap_names)  # before adapters: the very model where there are none
        reference = reference_model(plan, start, source_head, accelerator)
        project_start(plan.plugins, model, reference, stage.optimizer.lr)
        initialise_head(plan, model, source_head, data.train)  # a ridge head fits the projected backbone
    started_from = backbone_digest(model)

    workspace = Workspace(
        stage=stage,
        seed=plan.seed,
        out=plan.out,
        cache=cache_folder(),
        accelerator=accelerator,
        model=model,
        reference=reference,
        source_head=source_head,
        train_samples=data.train,
        validation_samples=data.validation,
        open_samples=partial(open_samples, plan, sources.images, preprocessing=model.preprocessing),
        display=plan.display,
        state=state,
    )
    streams = loaders.open_streams(plan.plugins, workspace)
    with seeded(plan.seed, stage.name, "heads"):  # those of further streams are drawn
        loaders.add_heads(model, streams)
    add_own(plan, workspace)
    if stage.channels_last:
        model.to(memory_format=torch.channels_last)

    loader = loaders.train_loader(plan, streams, accelerator)
    updates = -(-loader.steps_per_epoch // stage.accumulate)
    total_steps = stage.steps if stage.steps is not None else (stage.epochs or 0) * updates
    loader.total_epochs = math.ceil(total_steps / updates)
    optimizer = make_optimizer(model, stage.optimizer)
    state.steps_before = take_over(plan, optimizer)
    schedule = make_schedule(optimizer, stage.schedule, updates, state.steps_before + total_steps)
    freezing = Freezing.from_stage(model, stage)
    freezing.apply(model, 0)
    ema = ModelEmaV3(model, decay=stage.ema.decay, use_warmup=stage.ema.warmup) if stage.ema else None
    if stage.gradient_checkpointing:
        recompute(model, model.architecture)
    model.feature_transform = loaders.make_feature_transform(plan.plugins)  # the average is a copy without it
    wrapped = accelerator.prepare(_compiled(model) if stage.compile else model)
    if accelerator.scaler is not None:  # without one, Accelerate's wrapper only costs: 0.2 ms a step
        optimizer = accelerator.prepare(optimizer)

    evaluated = ({} if data.validation is None else {"val": data.validation}) | data.others
    session = Trainer(
        **vars(workspace),
        plan=plan,
        started_from=started_from,
        wrapped=wrapped,
        loader=loader,
        validation=loaders.eval_loader(plan, data.validation, accelerator) if data.validation is not None else None,
        others={name: loaders.eval_loader(plan, samples, accelerator) for name, samples in data.others.items()},
        early=loaders.early_loaders(plan, evaluated, accelerator),
        optimizer=optimizer,
        schedule=schedule,
        objective=make_objective(stage, plan.plugins, streams, model, accelerator),
        anchors=(),
        freezing=freezing,
        checkpoints=Checkpoints(plan.out / "checkpoints", keep=stage.checkpoints.keep, warn=plan.display.warn).open(),
        log=MetricsLog(plan.out.parent.parent / "metrics.jsonl", accelerator, plan.display.warn),
        total_steps=total_steps,
        mixup=loaders.make_mixup(stage, len(model.classes)),
        ema=ema,
    )
    if accelerator.is_main_process:
        accelerator.trackers += open_trackers(plan)
    return session


def _compiled(model: nn.Module) -> nn.Module:
    """Compiled so that the first loss can be looked at: that takes several backward passes through one graph."""
    import torch._functorch.config as functorch

    functorch.donated_buffer = False
    compiled: nn.Module = torch.compile(model)  # type: ignore[assignment]
    return compiled


@contextmanager
def opened(plan: StagePlan) -> Iterator[Trainer]:
    """A session whose plugins are set up; whatever happens inside, they are torn down and everything is closed.

    A lack of memory, and a batch of one image that nobody foresaw, leave as sentences.
    """
    session: Trainer | None = None
    error: BaseException | None = None
    with enough_memory(lambda: short_of_memory(plan, session)), explaining_lone_images(plan.stage.name):
        session = prepare(plan)
        try:
            for call in plan.plugins.calls("setup"):
                session.watch.call(call, SimpleNamespace(session=session.watch.lent), closely=True)
            refuse_lone_images(session)
            session.anchors = make_anchors(plan.plugins, plan.stage, session.model, session.reference)
            yield session
        except BaseException as caught:
            error = caught
            raise
        finally:
            with plan.stop.held(), closing(session):
                plan.display.end()
                for call in plan.plugins.calls("teardown"):
                    try:
                        call(SimpleNamespace(session=session.watch.lent, error=error))
                    except TO_STOP:
                        raise
                    except BaseException as broken:  # what was trained is finished: one that fails is a warning
                        session.warn(f"teardown of the {call.plugin} failed: {told(broken)}")
                        plan.display.record("".join(traceback.format_exception(broken)))


def short_of_memory(plan: StagePlan, session: Trainer | None) -> str:
    """What to say when the memory does not suffice: where, and a smaller batch of the same effect."""
    stage, run = plan.stage, plan.out.parent.parent
    place = "before its first step" if session is None else f"at step {session.state.step} of {session.total_steps}"
    fits = smaller_batch(stage.batch_size, stage.accumulate)
    if fits is None:
        advice = "a batch is one image already: use a smaller input_size, precision: bf16 or another model"
    else:
        advice = (
            f"batch_size: {fits[0]}, accumulate: {fits[1]} makes the same steps with less memory (but batch norm then "
            f"takes its statistics from {fits[0]} images instead of {stage.batch_size})"
        )
    saved = (plan.out / "checkpoints").is_dir() and any((plan.out / "checkpoints").glob("step-*"))
    resume = f"; with more memory, `{call('resume', run)}` goes on from the last checkpoint" if saved else ""
    return f'stage "{stage.name}" ran out of memory {place} (batch_size: {stage.batch_size}). {advice}{resume}'
