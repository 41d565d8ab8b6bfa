"""What a person should be told: terms that do nothing or too much, unstable rates, dead or collapsing models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transferkit.head_init import head_lr_limit

if TYPE_CHECKING:
    from transferkit.model import Output
    from transferkit.training.evaluation import Evaluation
    from transferkit.training.objective import Losses
    from transferkit.training.session import Session

NO_OP = 1e-3  # weighted value relative to the loss below which a term changes nothing
DWARFS = 10.0  # gradient relative to the task's above which a term drowns it
ONE_CLASS = 0.95
COLLAPSED = 0.999


def inspect_first_loss(session: Session, losses: Losses, output: Output) -> None:
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
        _judge_anchor(session, label, item.anchor.parameters)
    _judge_head_rate(session, output.features.detach())


def _judge(session: Session, label: str, value: float, gradient: float, task: float, task_gradient: float) -> None:
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


def _judge_anchor(session: Session, label: str, parameters: Iterable[Tensor]) -> None:
    if not any(parameter.requires_grad for parameter in parameters):
        session.warn(f"{label} has nothing to pull on: all its parameters are frozen")


def _judge_head_rate(session: Session, features: Tensor) -> None:
    options = session.stage.optimizer
    if "sgd" not in options.name.lower() and "momentum" not in options.name.lower():
        return
    peak = max(group.get("initial_lr", group["lr"]) * group.get("lr_scale", 1.0) for group in _head_groups(session))
    limit = head_lr_limit(features, options.momentum)
    norm = float(features.float().square().sum(dim=1).mean())
    advice = "use a smaller rate or head_lr_multiplier, or start well with head_init: ridge"
    if peak > limit:
        session.warn(
            f"the head's learning rate {peak:.3g} is above its stability limit {limit:.3g} "
            f"(mean squared feature norm {norm:.0f}): it may diverge; {advice}"
        )
    elif peak > limit / 2:
        session.warn(
            f"the head's learning rate {peak:.3g} is within a factor 2 of its stability limit {limit:.3g} "
            f"(mean squared feature norm {norm:.0f}); {advice}"
        )


def _head_groups(session: Session) -> list[dict[str, float]]:
    groups = session.optimizer.param_groups
    return [group for group in groups if group.get("head")] or list(groups)


def _norm(gradients: Iterable[Tensor | None]) -> float:
    squares = [g.detach().float().square().sum() for g in gradients if g is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def watch(session: Session, validation: Evaluation | None, features: Tensor | None) -> None:
    """After an epoch: one class that takes nearly all predictions, and features that have become one."""
    if validation is not None and validation.num_classes and validation.images:
        index, share = validation.largest_share
        truth = float(validation.counts[index]) / validation.images
        if share > ONE_CLASS and truth < 0.9 and len(session.classes) > 1:
            session.warn(
                f'"{session.classes[index]}" takes {share:.0%} of the validation predictions after epoch '
                f"{session.state.epoch + 1} ({truth:.0%} of the images are of it): the model is nearly constant"
            )
    if features is not None and len(features) >= 8 and min(features.shape) > 1:
        energy = torch.linalg.svdvals(features.float()).square()
        if float(energy.sum()) == 0 or float(energy[0] / energy.sum()) > COLLAPSED:
            session.warn(
                f"the features collapse: one direction carries over {COLLAPSED:.1%} of their energy after epoch "
                f"{session.state.epoch + 1}; a regularizer may be too strong"
            )
