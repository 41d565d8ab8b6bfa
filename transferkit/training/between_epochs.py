"""Evaluations between those at the end of an epoch: before the first step, and after the steps a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.training.best import remember
from transferkit.training.optimization import learning_rates
from transferkit.training.progress import scores

if TYPE_CHECKING:
    from transferkit.training.session import Session


def evaluate_start(session: Session) -> None:
    """Before the first step: what `evaluate_at: [0]` asks for, and a head that classifies already.

    A ridge head, or the source's own, is a candidate for the best, as epoch -1.
    """
    state = session.state
    if state.step > 0 or state.best is not None:
        evaluate_early(session)  # which a signal may have ended
        return
    session.log.rewind(session.stage.name, -1)  # an attempt that never came to a checkpoint
    evaluate_early(session)
    if session.stage.head_init not in ("ridge", "source") or session.validation is None:
        return
    state.epoch = -1
    found = session.evaluate_on(session.model, {"val": session.validation})
    remember(state, session.stage.early_stopping, found["val"], {})
    record = found["val"].record(session.classes)
    common = {"stage": session.stage.name, "epoch": -1, "step": 0, "split": "val", "terms": {}}
    session.log.epoch([common | {"lr": learning_rates(session.optimizer)[0]} | record], {}, session.classes)
    session.display.line(f"before training  val {scores(record)}*")
    state.epoch = 0
    session.save()


def evaluate_early(session: Session) -> None:
    """Where `evaluate_at` names this step: look at a fixed part of every data set. Lines of early_steps.jsonl."""
    state = session.state
    if state.step not in session.stage.evaluate_at or state.evaluated_at == state.step:
        return
    common = {"stage": session.stage.name, "epoch": state.epoch, "step": state.step}
    found = session.evaluate_on(session.best_model(), session.early)
    session.log.early([common | {"split": name} | item.record(session.classes) for name, item in found.items()])
    state.evaluated_at = state.step
