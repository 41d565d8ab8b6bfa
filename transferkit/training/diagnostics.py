"""What a person should be told: what a stage is about to do, terms that do too little or too much, broken models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.model.head_init import head_lr_limit
from transferkit.training.progress import shortened
from transferkit.words.formats import count

if TYPE_CHECKING:
    from transferkit.data.samples import Samples
    from transferkit.model.wrapper import Output
    from transferkit.training.evaluation import Evaluation
    from transferkit.training.objective import Losses
    from transferkit.training.session import TrainingSession

NO_OP = 1e-3  # weighted value relative to the loss below which a term changes nothing
DWARFS = 10.0  # gradient relative to the task's above which a term drowns it
ONE_CLASS = 0.95
COLLAPSED = 0.999
CONSTANT, COLLAPSE = "the model is nearly constant", "the features collapse"


def introduce(session: TrainingSession) -> None:
    """What a stage is about to do, said before it does it."""
    display = session.display
    stage, model, samples = session.stage, session.model, session.train_samples
    counts = session.parameter_counts()
    display.line(f"stage {stage.name}: {model.architecture} from {stage.start}", style="bold")
    display.line(f"  parameters  {counts['all']:,}, of which {counts['trained']:,} train")
    for adapter in model.adapters:
        added = sum(p.numel() for name, p in model.named_adapter_parameters() if name in adapter.own)
        display.line(
            f"  adapter     {adapter.plugin}: {count(len(adapter.layers), 'layer')}, {added:,} parameters added"
        )
    display.line(f"  train       {_contents(samples)}")
    if session.validation_samples is not None:
        carved = ", carved from train" if session.validation_samples.source is samples.source else ""
        display.line(f"  val         {len(session.validation_samples)} images{carved}")
    else:
        display.warn(f"stage {stage.name} has no validation split: the last weights are kept, not the best")
    precision = "" if stage.precision == "no" else f", precision {stage.precision}"
    device = f"{session.device}, {count(session.accelerator.num_processes, 'process')}{precision}"
    effective = stage.batch_size * stage.accumulate
    wanted = session.plan.recipe.stage(stage.name).batch_size
    if stage.batch_size != wanted and _normalises(model):
        session.warn(
            f"{wanted} images at once did not fit: {stage.batch_size} do, so batch norm takes its statistics from so "
            "few; with batchnorm: eval it takes the source's"
        )
    display.line(f"  device      {device}")
    display.line(f"  steps       {session.total_steps} of {effective} images, {session.updates_per_epoch} per epoch")
    if list(session.plugins):
        display.line(f"  plugins     {', '.join(plugin.name for plugin in session.plugins)}")
    for hook, names in session.plugins.order().items():
        display.record(f"  {hook:<11} {', '.join(names)}")


def _normalises(model: nn.Module) -> bool:
    """Whether some layer takes statistics from the images of a pass."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in model.modules())


def _contents(samples: Samples) -> str:
    """How many images of which classes, or how many rows."""
    if np.issubdtype(samples.labels.dtype, np.floating):
        return f"{len(samples)} rows of a table"
    counts = dict(zip(samples.classes, np.bincount(samples.labels, minlength=len(samples.classes)), strict=True))
    shown = ", ".join(f"{shortened(name)} {count}" for name, count in list(counts.items())[:8])
    more = f", … ({len(counts)} classes)" if len(counts) > 8 else ""
    return f"{len(samples)} images: {shown}{more}"


def inspect_first_loss(session: TrainingSession, losses: Losses, outputs: Mapping[str, Output]) -> None:
    """Say which terms have no gradient, are numerically nothing, or drown the task; and whether the head's rate
    is above its stability limit. Costs one extra backward pass per term, once."""
    parameters = [p for p in session.model.parameters() if p.requires_grad]
    task_gradient = _norm(torch.autograd.grad(losses.task_graph, parameters, retain_graph=True, allow_unused=True))
    for (name, term), weighted in losses.graphs.items():
        label = f"{name} ({term})" if term else name
        if not weighted.requires_grad:
            session.warn(f"{label} has no gradient: it cannot change the model")
            continue
        gradient = _norm(torch.autograd.grad(weighted, parameters, retain_graph=True, allow_unused=True))
        _judge(session, label, float(weighted.detach()), gradient, float(losses.task), task_gradient)
    for item in session.anchors:
        label = f"{item.instance} ({item.anchor.term})" if item.anchor.term else item.instance
        if not any(parameter.requires_grad for parameter in item.anchor.parameters):
            session.warn(f"{label} has nothing to pull on: all its parameters are frozen")
    _judge_head_rate(session, next(iter(outputs.values())).features.detach())


def _judge(
    session: TrainingSession, label: str, value: float, gradient: float, task: float, task_gradient: float
) -> None:
    if task:
        session.display.line(f"  at step 0   {label} is {value / task:.1e} of the loss")
    if gradient == 0:
        session.warn(f"{label} has a zero gradient at step 0: it does not change the model here")
    elif abs(value) < NO_OP * task:
        session.warn(
            f"{label} is {value / task:.1e} of the loss at step 0: numerically it does nothing; raise its weight"
        )
    if gradient > DWARFS * task_gradient > 0:
        session.warn(
            f"{label} pulls {gradient / task_gradient:.0f} times as hard as the task at step 0; lower its weight"
        )


def _judge_head_rate(session: TrainingSession, features: Tensor) -> None:
    options = session.stage.optimizer
    if "sgd" not in options.name.lower() and "momentum" not in options.name.lower():
        return
    groups = session.optimizer.param_groups
    groups = [group for group in groups if group.get("head")] or groups
    peak = max(group.get("initial_lr", group["lr"]) * group.get("lr_scale", 1.0) for group in groups)
    limit = head_lr_limit(features, options.momentum)
    norm = float(features.float().square().sum(dim=1).mean())
    if peak > limit / 2:
        where, danger = ("above", ": it may diverge") if peak > limit else ("within a factor 2 of", "")
        session.warn(
            f"the head's learning rate {peak:.3g} is {where} its stability limit {limit:.3g} (mean squared feature "
            f"norm {norm:.0f}){danger}; use a smaller rate or head_lr_multiplier, or start well with head_init: ridge"
        )


def warn_of_unused(session: TrainingSession, terms: Mapping[str, object]) -> None:
    """After the first epoch: a penalty to which the curriculum gave no image."""
    if session.state.epoch > 0:
        return
    for penalty in session.objective.penalties:
        name, stream = penalty.use.instance_name, penalty.use.on
        if name not in terms:
            session.warn(
                f"{name} has seen no image in the first epoch: it looks at the stream {stream}, of which the "
                "curriculum takes none; say on: with another stream, or all"
            )


def _norm(gradients: Iterable[Tensor | None]) -> float:
    squares = [g.detach().float().square().sum() for g in gradients if g is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def watch(session: TrainingSession, validation: Evaluation | None, features: Tensor | None) -> None:
    """After an epoch: one class that takes nearly all predictions, and features that have become one.

    Many a good training begins so: it is said while the stage trains from its second half on, and at its end.
    """
    late = 2 * session.state.step >= session.total_steps
    if validation is not None and validation.num_classes and validation.images:
        index, share = validation.largest_share
        truth = float(validation.counts[index]) / validation.images
        constant = (
            f'"{session.classes[index]}" takes {share:.0%} of the validation predictions after epoch '
            f"{session.state.epoch + 1} ({truth:.0%} of the images are of it): {CONSTANT}"
        )
        holds = share > ONE_CLASS and truth < 0.9 and len(session.classes) > 1
        session.standing(CONSTANT, constant if holds else None, aloud=late)
    if features is not None and len(features) >= 8 and min(features.shape) > 1:
        energy = torch.linalg.svdvals(features.float()).square()
        collapse = (
            f"{COLLAPSE}: one direction carries over {COLLAPSED:.1%} of their energy after epoch "
            f"{session.state.epoch + 1}; a regularizer may be too strong"
        )
        holds = float(energy.sum()) == 0 or float(energy[0] / energy.sum()) > COLLAPSED
        session.standing(COLLAPSE, collapse if holds else None, aloud=late)
