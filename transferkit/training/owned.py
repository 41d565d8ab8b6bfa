"""Modules of plugins' own, which train with the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from torch import nn

from transferkit.data.randomness import seeded
from transferkit.errors import InputError
from transferkit.training.lent import BEFORE, Lent
from transferkit.words.kinds import type_of

if TYPE_CHECKING:
    from transferkit.training.stage_plan import StagePlan
    from transferkit.training.workspace import Workspace


def add_own(plan: StagePlan, workspace: Workspace) -> None:
    """Give the model what the plugins' `parameters` return. What they draw is keyed, so no process draws other values.

    Raises InputError for what is no module of the plugin's own.
    """
    for call in plan.plugins.calls("parameters"):
        with seeded(plan.seed, plan.stage.name, "parameters", call.plugin.name):
            module = call(SimpleNamespace(model=workspace.model, session=Lent(workspace, BEFORE)))
        if not isinstance(module, nn.Module):
            kind = type_of(module)
            raise InputError(f"{call.plugin} returned {kind} from parameters; a torch.nn.Module is needed")
        workspace.model.add_own(call.plugin.name, module)
