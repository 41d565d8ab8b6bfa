"""Gradients and weights that plugins give back, checked and put in place: plugins return values, the core changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from transferkit.errors import InputError
from transferkit.plugins.hooks import Call, Plugin, RunPlugins
from transferkit.training.optimization import learning_rates
from transferkit.words.kinds import type_of
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.model.wrapper import TransferModel
    from transferkit.training.session import TrainingSession


def replace_gradients(calls: Sequence[Call], session: TrainingSession) -> dict[str, Plugin]:
    """Each plugin's `gradients` in recipe order, the next one on what the one before has left; {name: who gave it}."""
    weights = session.model.named_weights()
    gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
    offer = SimpleNamespace(
        gradients=gradients,
        parameters={name: weights[name].detach() for name in gradients},
        model=session.model,
        reference=session.reference,
        step=session.state.step,
        epoch=session.state.epoch,
        progress=session.progress_made,
    )
    replaced: dict[str, Plugin] = {}
    for call in calls:
        replaced |= dict.fromkeys(put_in_place(call, call(offer), gradients), call.plugin)
    return replaced


def project_start(plugins: RunPlugins, model: TransferModel, reference: TransferModel | None, lr: float) -> None:
    """The plugins' `project` before training: nothing has been learnt, so the weights are also the previous ones."""
    weights = {name: weight.detach() for name, weight in model.named_weights().items()}
    offer = SimpleNamespace(
        parameters=weights, previous=weights, gradients={}, model=model, reference=reference, step=0, lr=lr
    )
    for call in plugins.calls("project"):
        put_in_place(call, call(offer), weights)


def projection(session: TrainingSession) -> AbstractContextManager[object]:
    """What the optimizer's step is made in: afterwards weights are where the plugins' `project` want them."""
    calls = session.plugins.calls("project")
    return _Projection(calls, session) if calls else nullcontext()


class _Projection(AbstractContextManager[object]):
    """The weights before a step are copied only if some plugin asks for them."""

    def __init__(self, calls: Sequence[Call], session: TrainingSession) -> None:
        self._calls, self._session = calls, session
        self._weights = {name: weight.detach() for name, weight in session.model.named_weights().items()}
        copied = any("previous" in call.requests for call in calls)
        self._previous = {name: torch.empty_like(weight) for name, weight in self._weights.items()} if copied else {}

    def __enter__(self) -> None:
        if self._previous:
            torch._foreach_copy_(list(self._previous.values()), list(self._weights.values()))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        session = self._session
        if kind is not None or session.accelerator.optimizer_step_was_skipped:
            return
        named = session.model.named_weights().items()
        offer = SimpleNamespace(
            parameters=self._weights,
            previous=self._previous,
            gradients={name: weight.grad for name, weight in named if weight.grad is not None},
            model=session.model,
            reference=session.reference,
            step=session.state.step + 1,
            lr=learning_rates(session.optimizer)[0],
        )
        for call in self._calls:
            put_in_place(call, call(offer), self._weights)


@torch.no_grad()
def put_in_place(call: Call, value: Any, places: Mapping[str, Tensor]) -> list[str]:
    """Copy {name: tensor} into the tensors of those names; the names. Nothing may be returned for no change.

    Raises InputError for a name that is not there, for a value that is no tensor, and for one of another shape.
    """
    if value is None:
        return []
    if not isinstance(value, Mapping):
        raise InputError(f"{call.plugin} returned {type_of(value)} from {call.hook}; return {{name: tensor}}")
    if value and call.plugin.kind == "observer":
        raise InputError(f"{call.plugin} returned values from {call.hook}, but an observer only looks: return nothing")
    for name, new in value.items():
        if name not in places:
            what = f'{call.plugin} returned "{name}" from {call.hook}, which was not among the {_what(call)}'
            raise InputError(f"{what} it was given; {did_you_mean(name, places)}")
        if not isinstance(new, Tensor) or new.shape != places[name].shape:
            given = f"the shape {tuple(new.shape)}" if isinstance(new, Tensor) else f"{type_of(new)}"
            wanted = f"a tensor of shape {tuple(places[name].shape)} is needed"
            raise InputError(f"{call.plugin} returned {given} for {name} from {call.hook}; {wanted}")
    if value:
        torch._foreach_copy_([places[name] for name in value], list(value.values()))
    return list(value)


def _what(call: Call) -> str:
    return "gradients" if call.hook == "gradients" else "parameters"
