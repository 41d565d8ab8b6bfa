"""Edits of a finished model, one after the other, each evaluated before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from transferkit.data.randomness import seeded
from transferkit.errors import InputError, NonFiniteError, TransferkitError
from transferkit.model.digest import model_digest
from transferkit.model.modes import evaluating
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.plugins.hooks import Call
from transferkit.statistics import paired_difference
from transferkit.training.edit_session import EditSession, checked, put_in_place, short
from transferkit.training.examples import write_examples

if TYPE_CHECKING:
    from transferkit.data.batches import EvalLoader
    from transferkit.training.evaluation import Evaluation
    from transferkit.training.stage_plan import StagePlan
    from transferkit.training.workspace import Workspace


class Finished(Protocol):
    """A stage whose weights are settled, as edits need it: one that has trained, or one that does not."""

    @property
    def plan(self) -> StagePlan:
        """What the runner knows about the stage."""

    @property
    def validation(self) -> EvalLoader | None:
        """The validation images, if there are any."""

    def evaluate_on(self, model: TransferModel, loaders: Mapping[str, EvalLoader | None]) -> dict[str, Evaluation]:
        """Evaluate a model on every data set that is there."""

    def evaluate_best(self, model: TransferModel) -> dict[str, Evaluation]:
        """Evaluate a model on every split and data set that the stage knows."""


@dataclass
class EditOffers:
    """What `edit` may ask for; the reference is opened when it is asked for."""

    model: TransferModel
    session: EditSession
    find_reference: Callable[[], TransferModel | None]

    @property
    def reference(self) -> TransferModel:
        """The frozen model that the training started from."""
        found = self.find_reference()
        if found is None:
            raise InputError(
                f'stage "{self.session.stage.name}": no run says what its model was trained from, and this edit '
                "compares with that; edit the model folder where it lies in its run"
            )
        return found


@dataclass
class Edited:
    """What came of the edits: a record of each for result.json, and the model's evaluations after the last."""

    source_head: SourceHead | None
    evaluations: dict[str, Evaluation]
    records: list[dict[str, Any]] = field(default_factory=list)


def apply_edits(
    stage: Finished, workspace: Workspace, model: TransferModel, find_reference: Callable[[], TransferModel | None]
) -> Edited:
    """Every edit of the stage in order, evaluated before and after; the values are put into `model`.

    Raises NonFiniteError for values that are not finite, and ValueError for names and shapes that the model lacks.
    """
    done, plan = Edited(workspace.source_head, stage.evaluate_best(model)), stage.plan
    trained = plan.out if plan.stage.trains or plan.start is None else plan.start.parent
    for call in plan.plugins.calls("edit"):
        began = time.perf_counter()
        session = EditSession(
            workspace,
            model,
            done.source_head,
            score=lambda: stage.evaluate_on(model, {"val": stage.validation}).get("val"),
            find_model=plan.find_model,
            checkpoints=trained / "checkpoints",
        )
        values = _ask(call, EditOffers(model, session, find_reference), workspace.seed)
        done.source_head = put_in_place(model, done.source_head, values)
        before, done.evaluations = done.evaluations, stage.evaluate_best(model)
        done.records.append(
            {
                "use": call.plugin.component.name,
                "name": call.plugin.name,
                "changed": sorted(values),
                "before": {name: short(one) for name, one in before.items()},
                "after": {name: short(one) for name, one in done.evaluations.items()},
                "change": {
                    name: change(before[name], one) for name, one in done.evaluations.items() if one.num_classes
                },
                "numbers": session._numbers,
                "notes": session._notes,
                "seconds": time.perf_counter() - began,
            }
        )
        workspace.display.line(_line(done.records[-1]))
    _show(stage, workspace, done.evaluations)
    return done


def _show(stage: Finished, workspace: Workspace, found: Mapping[str, Evaluation]) -> None:
    """Pictures of what the finished model gets wrong; a model is no worse without them."""
    if "val" in found and stage.validation is not None and workspace.accelerator.is_main_process:
        try:
            write_examples(workspace.out, stage.validation.samples, found["val"], workspace.classes)
        except (OSError, TransferkitError) as error:
            workspace.display.warn(f"there are no pictures of mistakes: {error}")


def _ask(call: Call, offers: EditOffers, seed: int) -> dict[str, Tensor]:
    """What the plugin returns, checked; the model is as it was."""
    model, before = offers.model, model_digest(offers.model)
    with torch.no_grad(), evaluating(model), seeded(seed, offers.session.stage.name, "edit", call.plugin.name):
        values = call(offers)
    try:
        if model_digest(model) != before:
            raise ValueError("it changed the model's weights itself: it must return {parameter: new value} instead")
        return checked(values, model, offers.session.source_head)
    except (AttributeError, TypeError, ValueError, NonFiniteError) as error:
        error.add_note(f"in what edit of the {call.plugin} returned")
        raise


def change(before: Evaluation, after: Evaluation) -> dict[str, float | int | None]:
    """The difference of top-1, with the 95 % interval of a paired one, and how many images changed sides."""
    was, now = before.true == before.predicted, after.true == after.predicted
    found = paired_difference(was.numpy(), now.numpy())
    return {
        "top1": found.value,
        "low": found.low,
        "high": found.high,
        "gained": int((now & ~was).sum()),
        "lost": int((was & ~now).sum()),
    }


def _line(record: Mapping[str, Any]) -> str:
    """What an edit did, for people at a terminal."""
    parts = []
    for name, after in record["after"].items():
        metric = "top1" if "top1" in after else "loss"
        parts.append(f"{name} {metric} {record['before'][name][metric]:.4f} -> {after[metric]:.4f}")
    return "  ".join([f"edit {record['name']}: {len(record['changed'])} tensors", *parts, f"{record['seconds']:.1f} s"])
