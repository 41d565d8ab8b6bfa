"""What goes on from the stage before: the optimizer's memory, and the place in the learning-rate schedule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from transferkit.errors import InputError
from transferkit.training.checkpoint import Checkpoints
from transferkit.training.state import load_tree

if TYPE_CHECKING:
    from transferkit.training.stage_plan import StagePlan


def carry_on(plan: StagePlan, optimizer: torch.optim.Optimizer) -> int:
    """Fill the optimizer's state if the recipe carries it on; the steps that the schedule has behind it.

    Momentum and its like are taken over for every parameter whose shape is still the same: a new head starts without.
    Rates and other settings are this stage's own. Raises InputError when the earlier stage's last state is gone.
    """
    what = plan.stage.carry_on
    if not what or plan.start is None:
        return 0
    folder = _last_checkpoint(plan, plan.start.parent)
    if "optimizer" in what:
        _take_over(optimizer, load_tree(folder / "optimizer"))
    if "schedule" not in what:
        return 0
    state = load_tree(folder / "state")
    return int(state["step"]) + int(state.get("steps_before", 0))


def _last_checkpoint(plan: StagePlan, stage: Path) -> Path:
    folder = None
    if (stage / "checkpoints").is_dir():
        folder = Checkpoints(stage / "checkpoints", warn=plan.display.warn).newest()
    if folder is None:
        raise InputError(
            f'stage "{plan.stage.name}" carries on from "{plan.stage.start}", but {stage / "checkpoints"} holds no '
            "checkpoint; run that stage again, or leave out carry_on"
        )
    return folder


def _take_over(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    own = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if sum(len(group["params"]) for group in saved["param_groups"]) != len(parameters):
        raise InputError("carry_on: the optimizer of the earlier stage has other parameters than this stage's model")
    kept = {}
    for index, values in saved["state"].items():
        shape = parameters[int(index)].shape
        tensors = [value for value in values.values() if isinstance(value, Tensor) and value.ndim]
        if all(value.shape == shape for value in tensors):
            kept[int(index)] = values
    optimizer.load_state_dict({"state": kept, "param_groups": own["param_groups"]})
