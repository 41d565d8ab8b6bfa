"""The weight of a regularizer: a number, one per term, or a schedule over the first epochs."""

from __future__ import annotations

import math
from collections.abc import Callable

from transferkit.errors import InputError
from transferkit.recipe.schema import RegularizerUse, WeightSchedule
from transferkit.suggest import did_you_mean

WeightFunction = Callable[[float], float]


def weight_of(use: RegularizerUse, term: str) -> WeightFunction:
    """The weight of one term as a function of the epoch (a float). An unnamed term is called ""."""
    weight = use.weight
    if isinstance(weight, dict):
        if term not in weight:
            hint = did_you_mean(term, weight) or "it has no terms"
            raise InputError(f'the weight of {use.instance_name} has no entry for its term "{term}"; {hint}')
        weight = weight[term]
    if isinstance(weight, WeightSchedule):
        schedule = weight
        return lambda epoch: _scheduled(schedule, epoch)
    if weight is None:
        raise InputError(f"{use.instance_name} needs a weight")  # recipes are checked before; plugins can be called so
    constant = float(weight)
    return lambda epoch: constant


def _scheduled(schedule: WeightSchedule, epoch: float) -> float:
    done = min(max(epoch / schedule.over, 0.0), 1.0)
    if schedule.shape == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    return schedule.from_ + (schedule.to - schedule.from_) * done


def check_terms(use: RegularizerUse, terms: set[str]) -> None:
    """Refuse weights for terms that the plugin does not have."""
    if not isinstance(use.weight, dict):
        return
    unknown = sorted(set(use.weight) - terms)
    if unknown:
        known = sorted(terms - {""})
        hint = did_you_mean(unknown[0], known) or "this plugin has a single, unnamed term: give one number"
        raise InputError(f'{use.instance_name} has no term "{unknown[0]}"; {hint}')
