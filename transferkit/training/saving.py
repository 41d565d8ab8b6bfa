"""A session to and from a checkpoint. No random state is in it: every random number has a key."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.errors import InputError
from transferkit.training.metrics import Totals
from transferkit.training.non_finite import refuse_state
from transferkit.training.state import load_tree, save_tree

if TYPE_CHECKING:
    from transferkit.training.session import Session


def save(session: Session, *, always: bool = False) -> None:
    """Write a checkpoint if one is due: a new best, every so many epochs, at the end, and within an epoch.

    Raises NonFiniteError instead, on every process, where something in it is not finite.
    """
    state = session.state
    within_epoch = state.batch > 0
    best = not within_epoch and state.best is not None and state.best["epoch"] == state.epoch - 1
    due = always or within_epoch or session.finished or state.epoch % session.stage.checkpoints.every == 0
    if not (best or due):
        return
    refuse_state(session)
    if session.accelerator.is_main_process:
        session.checkpoints.save(state.step, lambda folder: _write(session, folder), best=best)
    session.accelerator.wait_for_everyone()


def _write(session: Session, folder: Path) -> None:
    save_tree(folder / "model", session.model.state_dict())
    if session.ema is not None:
        save_tree(folder / "ema", session.ema.module.state_dict())
    save_tree(folder / "optimizer", session.optimizer.state_dict())
    save_tree(folder / "state", asdict(session.state) | {"totals": session.totals.state()})
    if session.accelerator.scaler is not None:
        save_tree(folder / "scaler", session.accelerator.scaler.state_dict())
    plugins = {p.name: p.instance.state_dict() for p in session.plugins if hasattr(p.instance, "state_dict")}
    save_tree(folder / "plugins", plugins)


def restore(session: Session, folder: Path) -> None:
    """Go on from a checkpoint. Raises InputError when a plugin with state finds none."""
    load_weights(session, folder)
    session.optimizer.load_state_dict(load_tree(folder / "optimizer"))
    saved = load_tree(folder / "state")
    session.totals = Totals.from_state(saved.pop("totals"))
    for name, value in saved.items():
        setattr(session.state, name, value)
    if session.accelerator.scaler is not None and (folder / "scaler.json").is_file():
        session.accelerator.scaler.load_state_dict(load_tree(folder / "scaler"))
    plugins = load_tree(folder / "plugins")
    for plugin in session.plugins:
        if hasattr(plugin.instance, "load_state_dict"):
            if plugin.name not in plugins:
                raise InputError(f"the checkpoint has no state for the {plugin}: was it added after the run began?")
            plugin.instance.load_state_dict(plugins[plugin.name])
    # the rates of the last step done: an epoch whose evaluation was interrupted reports them
    session.schedule.step_update(max(session.state.steps_before + session.state.step - 1, 0))
    session.log.rewind(session.stage.name, session.state.step)


def load_weights(session: Session, folder: Path) -> None:
    """Take the model, and its average where there is one, from a checkpoint."""
    session.model.load_state_dict(load_tree(folder / "model"))
    if session.ema is not None:
        session.ema.module.load_state_dict(load_tree(folder / "ema"))
