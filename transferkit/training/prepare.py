"""From a stage of a recipe to a Session: data, model, reference, plugins, loaders, objective, optimizer, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from timm.data import Mixup
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from transferkit import head_init
from transferkit.data.batches import EvalLoader, TrainLoader
from transferkit.data.randomness import seeded
from transferkit.data.samples import Samples
from transferkit.data.streams import Stream
from transferkit.errors import InputError
from transferkit.folder import cache_folder
from transferkit.freezing import Freezing
from transferkit.hooks import Call, RunPlugins
from transferkit.model import SourceHead, TransferModel, build, reference_of
from transferkit.recipe import schema
from transferkit.training.anchors import WeightedAnchor
from transferkit.training.checkpoint import Checkpoints
from transferkit.training.datasets import StageData, open_samples, open_sources, stage_data
from transferkit.training.devices import make_accelerator
from transferkit.training.metrics import MetricsLog
from transferkit.training.objective import Objective, Penalty, TaskLoss, task_loss
from transferkit.training.offers import MixOffer, SessionOffer, TeardownOffer
from transferkit.training.optimization import make_optimizer, make_schedule
from transferkit.training.progress import Display
from transferkit.training.session import Scheduled, Session
from transferkit.training.signals import StopSignal
from transferkit.training.weights import check_terms, weight_of
from transferkit.training.workspace import State, Workspace

MixFunction = Callable[[int, int, float], Mapping[str, float]]
NEEDS_REFERENCE = {"reference", "reference_taps", "reference_features"}


@dataclass
class StagePlan:
    """What a runner knows about a stage before it is prepared."""

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


def prepare(plan: StagePlan) -> Session:
    """Build everything the loop needs. Raises InputError for what only the real data and model can tell."""
    stage, state = plan.stage, State()
    plan.out.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(plan.recipe, stage, plan.board, plan.display.warn)

    with seeded(plan.seed, stage.name, "initialise"):
        sources = open_sources(plan)
        model, source_head = _build(plan, sources.classes)
        data = stage_data(plan, sources, model.preprocessing)
        for plugin in plan.plugins.calls("taps"):
            model.tap(plugin(ModelOffer(model, None)))
        model.to(accelerator.device)
        model.stream_batchnorm = stage.stream_batchnorm
        _initialise_head(plan, model, data, accelerator)
        reference = _reference(plan, model, source_head, accelerator)

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
        open_samples=partial(open_samples, plan, preprocessing=model.preprocessing),
        display=plan.display,
        state=state,
    )
    streams = _streams(plan.plugins, workspace)
    for name, stream in streams.items():
        if name != "target" and stream.head == "own":
            model.add_head(name, len(stream.classes))
        elif len(stream.classes) != len(model.classes):
            raise InputError(
                f'the stream "{name}" shares the target\'s head, but has {len(stream.classes)} classes instead of '
                f"{len(model.classes)}"
            )
    model.to(accelerator.device)
    if stage.channels_last:
        model.to(memory_format=torch.channels_last)

    loader = _train_loader(plan, data, streams, accelerator)
    updates = -(-loader.steps_per_epoch // stage.accumulate)
    total_steps = stage.steps if stage.steps is not None else (stage.epochs or 0) * updates
    optimizer = make_optimizer(model, stage.optimizer)
    schedule = make_schedule(optimizer, stage.schedule, updates, total_steps)
    freezing = Freezing.from_stage(model, stage)
    freezing.apply(model, 0)
    ema = ModelEmaV3(model, decay=stage.ema.decay, use_warmup=stage.ema.warmup) if stage.ema else None
    module: nn.Module = torch.compile(model) if stage.compile else model  # type: ignore[assignment]
    wrapped, prepared_optimizer = accelerator.prepare(module, optimizer)

    session = Session(
        **vars(workspace),
        wrapped=wrapped,
        loader=loader,
        validation=_eval_loader(plan, data.validation, accelerator) if data.validation is not None else None,
        others={name: _eval_loader(plan, samples, accelerator) for name, samples in data.others.items()},
        optimizer=prepared_optimizer,
        schedule=schedule,
        objective=_objective(plan, data, streams, accelerator),
        anchors=(),
        freezing=freezing,
        plugins=plan.plugins,
        checkpoints=Checkpoints(plan.out / "checkpoints", keep=stage.checkpoints.keep, warn=plan.display.warn),
        log=MetricsLog(plan.out.parent.parent / "metrics.jsonl", accelerator),
        stop=plan.stop,
        total_steps=total_steps,
        mixup=_mixup(stage, len(model.classes)),
        ema=ema,
        scheduled=plan.scheduled,
    )
    if plan.board is not None:
        accelerator.init_trackers(stage.name)
    return session


@contextmanager
def opened(plan: StagePlan) -> Iterator[Session]:
    """A session whose plugins are set up; whatever happens inside, they are torn down and everything is closed."""
    session = prepare(plan)
    error: BaseException | None = None
    try:
        for call in plan.plugins.calls("setup"):
            call(SessionOffer(session))
        session.anchors = _anchors(plan.plugins, plan.stage, session.model, session.reference)
        yield session
    except BaseException as caught:
        error = caught
        raise
    finally:
        plan.display.end()
        for call in plan.plugins.calls("teardown"):
            call(TeardownOffer(session, error))
        session.close()


@dataclass
class ModelOffer:
    """What `taps` and `anchors` may ask for."""

    model: TransferModel
    reference: TransferModel | None

    @property
    def head(self) -> nn.Module:
        """The target's head."""
        return self.model.head


def _build(plan: StagePlan, classes: list[str]) -> tuple[TransferModel, SourceHead | None]:
    spec = plan.stage.model or plan.recipe.model
    if plan.start is not None:
        spec = spec.model_copy(update={"name": f"local-dir:{plan.start}", "weights": None})
        return build(spec, weights="pretrained", source_classes=None, classes=classes)
    if plan.stage.start == "scratch":
        model, _ = build(spec, weights="scratch", source_classes=None, classes=classes)
        return model, None
    weights = Path(spec.weights) if spec.weights else "pretrained"
    return build(spec, weights=weights, source_classes=None, classes=classes)  # type: ignore[arg-type]


def _initialise_head(plan: StagePlan, model: TransferModel, data: StageData, accelerator: Accelerator) -> None:
    how = plan.stage.head_init
    if how != "ridge":
        head_init.initialise_head(model, how)
        return
    features, labels = _features(plan, model, data.train, accelerator)
    head_init.initialise_head(model, how, features, labels)


@torch.no_grad()
def _features(
    plan: StagePlan, model: TransferModel, samples: Samples, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """Features (n, d) and labels (n,) of all training images, through the evaluation transform."""
    features, labels = [], []
    model.eval()
    with plan.display.task(len(samples), "features for the ridge head") as bar:
        for images, batch_labels in samples.evaluation_batches(plan.stage.batch_size, device=accelerator.device):
            features.append(model(images).features.float().cpu())
            labels.append(batch_labels.cpu())
            bar.advance(len(batch_labels))
    return torch.cat(features), torch.cat(labels)


def _reference(
    plan: StagePlan, model: TransferModel, source_head: SourceHead | None, accelerator: Accelerator
) -> TransferModel | None:
    """The frozen model the stage starts from, only if some plugin asks for it."""
    asked = {hook: plan.plugins.requests(hook) & NEEDS_REFERENCE for hook in ("penalty", "anchors")}
    sessions = any("session" in plan.plugins.requests(hook) for hook in ("setup", "streams"))
    if source_head is None:
        if any(asked.values()):
            raise InputError(
                f'stage "{plan.stage.name}" starts from scratch, but one of its regularizers compares with the model '
                "it starts from; remove the regularizer or start from pretrained weights"
            )
        return None
    if not any(asked.values()) and not sessions:
        return None
    reference = reference_of(model, source_head).to(accelerator.device)
    # no gradient flows through it, so its layout is free: on a CPU convolutions are faster in this one
    return reference.to(memory_format=torch.channels_last) if accelerator.device.type == "cpu" else reference


def _streams(plugins: RunPlugins, workspace: Workspace) -> dict[str, Stream]:
    """The target stream first, then what the curriculum adds."""
    streams = {"target": Stream(workspace.train_samples)}
    for call in plugins.calls("streams"):
        given = dict(call(SessionOffer(workspace)))
        streams["target"] = given.pop("target", streams["target"])
        streams |= given
    return streams


def _train_loader(
    plan: StagePlan, data: StageData, streams: Mapping[str, Stream], accelerator: Accelerator
) -> TrainLoader:
    stage = plan.stage
    calls = plan.plugins.calls("mix")
    if len(calls) > 1:
        names = " and ".join(call.plugin.name for call in calls)
        raise InputError(f"only one plugin can mix streams, but {names} both do")
    sampling = stage.balance == "sampling"
    return TrainLoader(
        {name: stream.samples for name, stream in streams.items()},
        batch_size=stage.batch_size,
        seed=plan.seed,
        mix=_mix(calls[0]) if calls else None,
        total_epochs=stage.epochs or 1,
        workers=_workers(stage),
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        weights=1.0 / np.bincount(data.train.labels)[data.train.labels] if sampling else None,
        pin_memory=accelerator.device.type == "cuda",
    )


def _mix(call: Call) -> MixFunction:
    return lambda step, epoch, progress: call(MixOffer(step, epoch, progress))


def _workers(stage: schema.Stage) -> int:
    if stage.workers is not None:
        return stage.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, max(0, cores - 1)) if torch.cuda.is_available() else min(2, max(0, cores - 1))


def _eval_loader(plan: StagePlan, samples: Samples, accelerator: Accelerator) -> EvalLoader:
    return EvalLoader(
        samples,
        batch_size=plan.stage.batch_size,
        workers=_workers(plan.stage),
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )


def _objective(plan: StagePlan, data: StageData, streams: Mapping[str, Stream], accelerator: Accelerator) -> Objective:
    stage = plan.stage
    penalties = [Penalty(_weighted(call, stage), call) for call in plan.plugins.calls("penalty")]
    losses = {name: stream.loss for name, stream in streams.items() if stream.loss is not None}
    others = {name: task_loss(stage.loss) for name in streams if name != "target" and name not in losses}
    return Objective(
        _task_loss(stage, data, accelerator.device),
        penalties,
        stream_losses=others | losses,
        world=accelerator.num_processes,
    )


def _task_loss(stage: schema.Stage, data: StageData, device: torch.device) -> TaskLoss:
    counts = torch.bincount(torch.as_tensor(data.train.labels), minlength=len(data.classes)).double()
    weights = prior = None
    if stage.balance == "loss":
        weights = (counts.sum() / (len(counts) * counts.clamp(min=1))).float().to(device)
    elif stage.balance == "logit_adjustment":
        prior = (counts.clamp(min=1) / counts.sum()).log().float().to(device)
    return task_loss(stage.loss, class_weights=weights, log_prior=prior)


def _anchors(
    plugins: RunPlugins, stage: schema.Stage, model: TransferModel, reference: TransferModel | None
) -> list[WeightedAnchor]:
    found = []
    for call in plugins.calls("anchors"):
        use = _weighted(call, stage)
        anchors = list(call(ModelOffer(model, reference)))
        check_terms(use, {anchor.term for anchor in anchors})
        found += [WeightedAnchor(use.instance_name, anchor, weight_of(use, anchor.term)) for anchor in anchors]
    return found


def _weighted(call: Call, stage: schema.Stage) -> schema.RegularizerUse:
    """The recipe's entry that gives a penalty or an anchor its weight: only regularizers have one."""
    if call.plugin.kind != "regularizer":
        raise InputError(f"the {call.plugin} has a {call.hook}, which only a regularizer may: it needs a weight")
    return next(use for use in stage.regularizers if use.instance_name == call.plugin.name)


def _mixup(stage: schema.Stage, num_classes: int) -> Mixup | None:
    options = stage.mixup
    if options is None or (options.mixup == 0 and options.cutmix == 0):
        return None
    return Mixup(
        mixup_alpha=options.mixup,
        cutmix_alpha=options.cutmix,
        prob=options.probability,
        switch_prob=options.switch_probability,
        mode=options.mode,
        label_smoothing=0.0,  # the loss smooths, once
        num_classes=num_classes,
    )
