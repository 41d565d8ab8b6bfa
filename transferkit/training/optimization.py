"""Optimizer, learning-rate schedule and clipping: timm's, by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers, param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from timm.utils import dispatch_clip_grad
from torch import Tensor, nn

from transferkit.errors import InputError, Problem
from transferkit.model.wrapper import TransferModel
from transferkit.recipe import schema
from transferkit.recipe.timm_names import BITSANDBYTES, unknown_optimizer
from transferkit.words.suggest import did_you_mean


def parameter_groups(model: TransferModel, options: schema.Optimizer) -> list[dict[str, Any]]:
    """Groups with timm's `lr_scale`: layer-wise decay times the head's multiplier.

    Biases and norm parameters are exempt from weight decay, as everywhere in timm. The scales take effect
    because every stage has a timm schedule, a constant one if need be: torch's schedules ignore `lr_scale`.
    """
    net: Any = model.net
    skip = set(net.no_weight_decay()) if hasattr(net, "no_weight_decay") else set()
    if options.layer_decay is not None:
        groups = param_groups_layer_decay(
            model.net, options.weight_decay, no_weight_decay_list=skip, layer_decay=options.layer_decay
        )
    else:
        groups = param_groups_weight_decay(model.net, options.weight_decay, no_weight_decay_list=skip)
    head = {id(parameter) for _, parameter in model.named_head_parameters()}
    split: list[dict[str, Any]] = []
    for group in groups:
        for is_head in (False, True):
            chosen = [p for p in group["params"] if (id(p) in head) == is_head]
            if chosen:
                scale = float(group.get("lr_scale", 1.0)) * (options.head_lr_multiplier if is_head else 1.0)
                split.append(group | {"params": chosen, "lr_scale": scale, "head": is_head})
    seen = {id(p) for group in split for p in group["params"]}
    beside = (*model.heads.parameters(), *model.own.parameters())
    others = [p for p in beside if id(p) not in seen and p.requires_grad]
    if others:
        split.append({"params": others, "weight_decay": 0.0, "lr_scale": options.head_lr_multiplier, "head": True})
    return split


def make_optimizer(model: TransferModel, options: schema.Optimizer) -> torch.optim.Optimizer:
    """Any timm optimizer by name, or one of bitsandbytes. Raises InputError for an unknown name or option."""
    if options.name.lower() in BITSANDBYTES:
        return _of_bitsandbytes(parameter_groups(model, options), options)
    names = list_optimizers(exclude_filters=["*flash*"])
    if options.name.lower() not in names:
        raise InputError(f'no optimizer called "{options.name}"; {did_you_mean(options.name, names)}')
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            parameter_groups(model, options),
            opt=options.name,
            lr=options.lr,
            weight_decay=options.weight_decay,
            momentum=options.momentum,
            **options.options,
        )
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        raise InputError(f'the optimizer "{options.name}" refused its options: {error}') from error
    return optimizer


def _of_bitsandbytes(groups: list[dict[str, Any]], options: schema.Optimizer) -> torch.optim.Optimizer:
    """Tensors of fewer than 4096 numbers keep a state of full precision there, as it says."""
    if (wrong := unknown_optimizer(options.name)) is not None:
        raise InputError(Problem("optimizer.name", *wrong))
    try:
        from bitsandbytes import optim

        made = getattr(optim, BITSANDBYTES[options.name.lower()])
        given: dict[str, Any] = {"lr": options.lr, "weight_decay": options.weight_decay}
        if "momentum" in inspect.signature(made).parameters:
            given["momentum"] = options.momentum
        optimizer: torch.optim.Optimizer = made(groups, **given | options.options)
    except (TypeError, ValueError, ImportError, NotImplementedError, AttributeError, RuntimeError) as error:
        raise InputError(f'the optimizer "{options.name}" of bitsandbytes cannot be made: {error}') from error
    return optimizer


def make_schedule(
    optimizer: torch.optim.Optimizer, options: schema.Schedule, steps_per_epoch: int, total_steps: int
) -> Scheduler:
    """A timm schedule that counts optimizer steps: `step_update(n)` sets the rates for step n."""
    unit = steps_per_epoch if options.unit == "epochs" else 1

    def steps(time: float) -> int:
        return max(1, round(time * unit))

    # "constant" exists in newer timm only; a step schedule that never decays is the same. For poly, timm reads
    # decay_rate as the power: 1 is the usual linear decay.
    constant = options.name in ("constant", "none")
    name = "step" if constant else options.name
    arguments: dict[str, Any] = {
        "decay_rate": 1.0 if constant or name == "poly" else options.gamma,
        "min_lr": options.min_lr,
        "warmup_lr": options.warmup_lr,
        "warmup_epochs": steps(options.warmup) if options.warmup else 0,
        # timm's multistep decays one count early: it compares with t + 1
        "decay_milestones": [steps(time) + 1 for time in options.milestones],
    }
    if options.every is not None:
        arguments["decay_epochs"] = steps(options.every)
    elif name == "step":
        arguments["decay_epochs"] = max(1, total_steps)
    try:
        schedule, _ = create_scheduler_v2(
            optimizer,
            sched=name,
            num_epochs=max(1, total_steps),
            step_on_epochs=False,
            updates_per_epoch=1,
            **(arguments | options.options),
        )
    except TypeError as error:
        raise InputError(f'the schedule "{options.name}" refused its options: {error}') from error
    if schedule is None:
        raise InputError(f'timm has no schedule called "{options.name}"')
    schedule.step_update(0)
    return schedule


def clip_gradients(parameters: Iterable[nn.Parameter], options: schema.Clip | None) -> Tensor:
    """Clip by norm, value or adaptively (timm's AGC); returns the `gradient_size` before that, a scalar."""
    chosen = [parameter for parameter in parameters if parameter.grad is not None]
    if options is not None and options.norm is not None:
        return torch.nn.utils.clip_grad_norm_(chosen, options.norm)  # its norm is a size as well
    size = gradient_size([parameter.grad for parameter in chosen if parameter.grad is not None])
    if options is not None:
        mode, value = next((name, v) for name, v in options.model_dump().items() if v is not None)
        dispatch_clip_grad(chosen, value, mode=mode)
    return size


def gradient_size(gradients: list[Tensor]) -> Tensor:
    """A scalar that is not finite where a number of the gradients is not, or where their squares overflow.

    It reads every gradient once, which is all that it costs. On a CPU the dot product of BLAS does so fastest: it
    takes 0.7 of a norm's time.
    """
    if not gradients:
        return torch.zeros(())
    if gradients[0].device.type == "cpu":
        # as they lie in memory, without a copy for the layouts that training has
        flat = (g.view(-1) if g.is_contiguous() else g.movedim(1, -1).reshape(-1) for g in gradients)
        return torch.stack([torch.dot(numbers, numbers) for numbers in flat]).sum()
    return torch.stack(torch._foreach_norm(gradients)).sum()


def learning_rates(optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    """The present rates of body and head; the largest where groups differ."""
    body = [group["lr"] for group in optimizer.param_groups if not group.get("head")]
    head = [group["lr"] for group in optimizer.param_groups if group.get("head")]
    return max(body or head), max(head or body)
