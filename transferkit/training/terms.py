"""The terms of the loss: the task's, and what the recipe's regularizers add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from transferkit.data.streams import Stream
from transferkit.errors import InputError
from transferkit.hooks import Call, RunPlugins
from transferkit.recipe import schema
from transferkit.training.anchors import WeightedAnchor
from transferkit.training.objective import Objective, Penalty, TaskLoss, task_loss
from transferkit.training.offers import ModelOffer
from transferkit.training.term_weights import check_terms, weight_of

if TYPE_CHECKING:
    from transferkit.model import TransferModel


def make_objective(
    stage: schema.Stage, plugins: RunPlugins, streams: Mapping[str, Stream], accelerator: Accelerator
) -> Objective:
    """The task loss of every stream, and the penalties in recipe order. Raises InputError for balanced joint heads."""
    if stage.balance in ("loss", "logit_adjustment") and any(stream.head == "joint" for stream in streams.values()):
        raise InputError(
            f"balance: {stage.balance} counts the target's classes only, but the curriculum makes one softmax of all "
            "streams' classes; use balance: sampling, or leave it out"
        )
    penalties = [Penalty(_weighted(call, stage), call) for call in plugins.calls("penalty")]
    losses = {name: stream.loss for name, stream in streams.items() if stream.loss is not None}
    others = {name: task_loss(stage.loss) for name in streams if name != "target" and name not in losses}
    return Objective(
        _task_loss(stage, streams["target"].samples.labels, len(streams["target"].classes), accelerator.device),
        penalties,
        stream_losses=others | losses,
        world=accelerator.num_processes,
    )


def _task_loss(stage: schema.Stage, labels: NDArray[np.int64], classes: int, device: torch.device) -> TaskLoss:
    if stage.loss.name == "mse":
        return task_loss(stage.loss)
    counts = torch.bincount(torch.as_tensor(labels), minlength=classes).double()
    weights = prior = None
    if stage.balance == "loss":
        weights = (counts.sum() / (len(counts) * counts.clamp(min=1))).float().to(device)
    elif stage.balance == "logit_adjustment":
        prior = (counts.clamp(min=1) / counts.sum()).log().float().to(device)
    return task_loss(stage.loss, class_weights=weights, log_prior=prior)


def make_anchors(
    plugins: RunPlugins, stage: schema.Stage, model: TransferModel, reference: TransferModel | None
) -> list[WeightedAnchor]:
    """Every anchor with its weight, in recipe order."""
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
