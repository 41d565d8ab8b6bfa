"""The best epoch so far, by the validation split alone, and when to stop waiting for a better one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transferkit.recipe import schema

if TYPE_CHECKING:
    from transferkit.training.evaluation import Evaluation
    from transferkit.training.workspace import State


def remember(
    state: State, stopping: schema.EarlyStopping | None, validation: Evaluation | None, train: Mapping[str, Any]
) -> bool:
    """Note this epoch's result, and whether it is the best. Without a validation split the last is the best.

    The best has the highest accuracy, and of equal ones the lowest loss; or the lowest loss where early
    stopping watches that, or where there is no accuracy (`top1` is None then).
    """
    split, of = ("train", train) if validation is None else ("val", {"top1": validation.top1, "loss": validation.loss})
    top1 = None if math.isnan(of["top1"]) else of["top1"]
    state.last = {"epoch": state.epoch, "top1": top1, "loss": of["loss"], "split": split}
    metric = stopping.metric if stopping is not None else "top1"
    if validation is None or state.best is None or better(state.last, state.best, metric):
        state.best, state.waited = dict(state.last), 0
        return True
    state.waited += 1
    state.stopped_early = stopping is not None and state.waited >= stopping.patience
    return False


def better(new: Mapping[str, Any], old: Mapping[str, Any], metric: str) -> bool:
    """Whether a result beats another. A loss that is no number is worse than any, and beaten by any."""
    loss, before = (math.inf if math.isnan(item["loss"]) else item["loss"] for item in (new, old))
    if metric == "loss" or new["top1"] is None or old["top1"] is None:
        return bool(loss < before)
    return bool((new["top1"], -loss) > (old["top1"], -before))
