"""A session to and from a checkpoint. No random state is in it: every random number has a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError, StorageError
from transferkit.system.atomic import read_json
from transferkit.training.checkpoint import Checkpoints
from transferkit.training.datasets import fingerprints
from transferkit.training.fingerprint import differences, recipe_facts, refuse, refuse_other_classes, version_facts
from transferkit.training.metrics import Totals
from transferkit.training.non_finite import refuse_state
from transferkit.training.state import load_tree, save_tree, snapshot

if TYPE_CHECKING:
    from transferkit.training.session import TrainingSession
    from transferkit.training.stage_plan import StagePlan

FINGERPRINT = "fingerprint"


def save(session: TrainingSession, *, always: bool = False) -> None:
    """Write a checkpoint if one is due: a new best, every so many epochs, at the end, and within an epoch; or `always`.

    What is written is copied first, and training goes on while it is written. Raises NonFiniteError instead, on every
    process, where something in it is not finite.
    """
    state = session.state
    within_epoch = state.batch > 0
    best = not within_epoch and state.best is not None and state.best["epoch"] == state.epoch - 1
    due = always or within_epoch or session.finished or state.epoch % session.stage.checkpoints.every == 0
    if not (best or due):
        return
    refuse_state(session)
    totals = session.totals.state(session.accelerator)
    if session.accelerator.is_main_process:
        try:
            session.log.flush()  # a checkpoint stands for the records before it
        except StorageError as error:
            session.display.warn(f"{error}; no checkpoint was written at step {state.step}")
        else:
            content = snapshot(_content(session, totals))
            session.checkpoints.begin(state.step, partial(_write, content), best=best)
    session.saved()
    session.accelerator.wait_for_everyone()


def _content(session: TrainingSession, totals: Mapping[str, Any]) -> dict[str, Any]:
    """{file name: tree} of all that is needed to go on exactly."""
    content: dict[str, Any] = {
        "model": session.model.state_dict(),
        "optimizer": session.optimizer.state_dict(),
        "state": asdict(session.state) | {"totals": totals},
        "plugins": {p.name: p.instance.state_dict() for p in session.plugins if hasattr(p.instance, "state_dict")},
        FINGERPRINT: session.fingerprint | {"records": session.log.written()},
    }
    if session.ema is not None:
        content["ema"] = session.ema.module.state_dict()
    if session.accelerator.scaler is not None:
        content["scaler"] = session.accelerator.scaler.state_dict()
    return content


def _write(content: Mapping[str, Any], folder: Path) -> None:
    for name, tree in content.items():
        save_tree(folder / name, tree)


def restore(session: TrainingSession, folder: Path, known: Sequence[str] = ()) -> None:
    """Go on from a checkpoint; `known` are differences that are accepted already, in sentences.

    Raises InputError when it belongs to something else, or lacks a plugin's state.
    """
    accepted = _accepted(session, folder)
    try:
        load_weights(session, folder)
        session.optimizer.load_state_dict(load_tree(folder / "optimizer"))
    except (RuntimeError, ValueError, KeyError) as error:  # a recipe that was accepted although it differs
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{folder} does not fit this model and optimizer ({first}); start a new run") from error
    saved = load_tree(folder / "state")
    session.totals = Totals.from_state(saved.pop("totals"), session.accelerator)
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
    if session.plan.extended:
        _extend(session)
    # the rates of the last step done: an epoch whose evaluation was interrupted reports them
    session.schedule.step_update(max(session.state.steps_before + session.state.step - 1, 0))
    session.log.rewind(session.stage.name, session.state.step, load_tree(folder / FINGERPRINT).get("records", {}))
    session.saved()
    for sentence in (*accepted, *known):
        session.warn(f"stage {session.stage.name} goes on with a difference: {sentence}")


def _accepted(session: TrainingSession, folder: Path) -> list[str]:
    """Differences of data and machine from those of the checkpoint. Raises InputError for what is not accepted."""
    saved, where = load_tree(folder / FINGERPRINT), f"the checkpoint {folder.name} of stage {session.stage.name}"
    refuse_other_classes(saved, session.fingerprint, where)
    now = {kind: session.fingerprint[kind] for kind in ("data", "machine")}
    if session.log.path.parent == folder.parents[3] and "records" in saved:  # a replay writes elsewhere
        now["records"] = session.log.written(saved["records"])
    return refuse(differences(saved, now), session.plan.accept, where)


def _extend(session: TrainingSession) -> None:
    """A finished stage goes on for more epochs: patience begins anew. Raises InputError for no more than it had."""
    state, epochs = session.state, session.stage.epochs or 0
    if state.epoch >= epochs:
        raise InputError(
            f"stage {session.stage.name} has trained {state.epoch} epochs already: give more of them than that"
        )
    state.stopped_early, state.waited = False, 0
    session.warn(
        f"stage {session.stage.name} goes on from epoch {state.epoch} to {epochs}: its learning rates are from now on "
        "those of a run of that length"
    )


def refuse_other_recipe(plan: StagePlan) -> list[str]:
    """The accepted differences of recipe and versions between a stage's newest checkpoint and now.

    It is looked at before anything is opened, and for finished stages too. Raises InputError for what is not accepted.
    """
    folder = next(iter(Checkpoints(plan.out / "checkpoints").folders()), None)
    if folder is None or not (folder / f"{FINGERPRINT}.json").is_file():
        return []
    saved = read_json(folder / f"{FINGERPRINT}.json")
    now = {"recipe": recipe_facts(plan), "versions": version_facts(plan)}
    if plan.extended:
        now["recipe"]["epochs"] = saved["recipe"]["epochs"]
    return refuse(differences(saved, now), plan.accept, f"the checkpoint {folder.name} of stage {plan.stage.name}")


def refuse_changed_images(session: TrainingSession, finished: Mapping[str, Any]) -> list[str]:
    """The accepted differences between the images of a stage that begins and those that stages before it had.

    `finished` is what result.json says of those. Where they took the same part of the same data set, every byte that a
    checkpoint knows of is compared, otherwise names and sizes. Raises InputError for what is not accepted.
    """
    stage, accepted = session.stage, []
    for other in session.plan.recipe.stages:
        if other.name not in finished or other.dataset != stage.dataset:
            continue
        kept = Checkpoints(session.out.parent / other.name / "checkpoints").folders()
        where = f'the stage "{other.name}", which "{stage.name}" comes after,'
        if kept and (other.fraction, other.validation) == (stage.fraction, stage.validation):
            saved, now = (read_json(kept[0] / f"{FINGERPRINT}.json"), session.fingerprint)
            both = saved["data"]["splits"].keys() & now["data"]["splits"].keys() & {"train", "val"}
            splits = [{split: one["data"]["splits"][split] for split in sorted(both)} for one in (saved, now)]
            found = differences(*({"data": {"splits": one, "start": None}} for one in splits))
        else:
            ours = fingerprints(session.train_samples, session.validation_samples)
            theirs = finished[other.name].get("fingerprints") or {}
            changed = [split for split in theirs.keys() & ours.keys() if theirs[split] != ours[split]]
            found = {"data": [f"{split} of {stage.dataset} has other images" for split in sorted(changed)]}
        accepted += refuse({kind: said for kind, said in found.items() if said}, session.plan.accept, where)
    return accepted


def load_weights(session: TrainingSession, folder: Path) -> None:
    """Take the model, and its average where there is one, from a checkpoint."""
    session.model.load_state_dict(load_tree(folder / "model"))
    if session.ema is not None:
        session.ema.module.load_state_dict(load_tree(folder / "ema"))
