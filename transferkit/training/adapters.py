"""The stage's adapters: asked for their layers, which take the place of the model's own."""

from __future__ import annotations

import copy
from types import SimpleNamespace

from transferkit.data.randomness import seeded
from transferkit.errors import InputError
from transferkit.hookspecs import REFERENCE
from transferkit.model.adapted import Adapted
from transferkit.model.adapting import put_in
from transferkit.model.wrapper import SourceHead, TransferModel, reference_of
from transferkit.plugins.hooks import Call
from transferkit.training.stage_plan import StagePlan


def adapt(plan: StagePlan, model: TransferModel, source_head: SourceHead | None) -> TransferModel:
    """Put the layers of the stage's adapters into the model; returns the model as it was, which is it without any.

    What an adapter draws from torch's generator is keyed by seed, stage and its name. Raises InputError for layers
    that cannot be put in.
    """
    calls = plan.plugins.calls("adapt")
    if not calls:
        return model
    plain, reference = copy.deepcopy(model), None
    if REFERENCE & plan.plugins.requests("adapt"):
        if source_head is None:
            raise InputError(
                f'stage "{plan.stage.name}" starts from scratch, but an adapter asks for what it starts from'
            )
        reference = reference_of(plain, source_head)
    for call in calls:
        with seeded(plan.seed, plan.stage.name, "adapters", call.plugin.name):
            modules = call(SimpleNamespace(model=model, reference=reference))
        put_in(model, modules, _described(plan, call))
    return plain


def _described(plan: StagePlan, call: Call) -> Adapted:
    """Whose layers they are, as a model folder says it."""
    component, uses = call.plugin.component, plan.stage.adapters
    options = next((use.options for use in uses if use.instance_name == call.plugin.name), {})
    declared, owner = component.declared, component.owner
    return Adapted(
        component.name, owner.distribution, owner.version, (), options, (), declared.freezes, declared.merges
    )
