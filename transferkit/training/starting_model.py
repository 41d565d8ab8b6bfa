"""What a stage starts from: its model, with a head, kept as a frozen reference if a plugin asks for one.

And what goes on from the stage before: the optimizer's memory, and the place in the learning-rate schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from transferkit.data.samples import Samples
from transferkit.data.sources import known_classes, labelled_classes
from transferkit.errors import InputError
from transferkit.hookspecs import REFERENCE
from transferkit.model import head_init
from transferkit.model.creation import Start, build
from transferkit.model.new_rows import grown_head, known_rows
from transferkit.model.passes import features_of
from transferkit.model.wrapper import SourceHead, TransferModel, reference_of
from transferkit.recipe import schema
from transferkit.recipe.paths import STARTS
from transferkit.training.checkpoint import Checkpoints
from transferkit.training.stage_plan import StagePlan
from transferkit.training.state import load_tree
from transferkit.words.formats import count, some


def starting_model(plan: StagePlan, classes: list[str]) -> tuple[TransferModel, SourceHead | None]:
    """The model with a new head for these classes, and the head it had: none when it starts from scratch."""
    spec, weights = _start_of(plan.recipe, plan.stage, plan.start)
    model, head = build(spec, weights=weights, source_classes=None, classes=classes, say=plan.display.line)
    return model, None if weights == "scratch" else head


def _start_of(recipe: schema.Recipe, stage: schema.Stage, folder: Path | None) -> tuple[schema.Model, Start]:
    spec = stage.model or recipe.model
    if folder is not None:
        return spec.model_copy(update={"name": f"local-dir:{folder}", "weights": None}), "pretrained"
    if stage.start == "scratch":
        return spec, "scratch"
    return spec, Path(spec.weights) if spec.weights else "pretrained"


def try_later_starts(recipe: schema.Recipe, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Open what later stages start from, where that is not another stage, before the first one trains for hours.

    Raises InputError where weights do not fit their model, or cannot be had.
    """
    known: list[tuple[schema.Model, Start]] = []
    for position, name in enumerate(names):
        stage = recipe.stage(name)
        if stage.start in {one.name for one in recipe.stages}:
            continue
        start = _start_of(recipe, stage, None if stage.start in STARTS else Path(stage.start))
        waits = any(recipe.stage(earlier).trains for earlier in names[:position])
        if waits and start not in known and start[1] != "scratch":
            say(f"stage {name}: opening what it starts from, before anything is trained")
            build(start[0], weights=start[1], source_classes=None, classes=None)
        known.append(start)


def initialise_head(plan: StagePlan, model: TransferModel, source_head: SourceHead | None, samples: Samples) -> None:
    """Fill the new head as `head_init` says."""
    how = plan.stage.head_init
    if how == "source" and source_head is not None:
        model.set_head(_from_source(plan, model, source_head, samples))
    if how != "ridge":
        head_init.initialise_head(model, how)
        return
    features, labels = _features(plan, model, samples, "features for the ridge head")
    head_init.initialise_head(model, how, features, labels)


def _features(plan: StagePlan, model: TransferModel, samples: Samples, text: str) -> tuple[Tensor, Tensor]:
    return features_of(model, samples, plan.display.task, text, batch_size=plan.stage.batch_size)


def _from_source(plan: StagePlan, model: TransferModel, source: SourceHead, samples: Samples) -> SourceHead:
    """The source's rows of these classes; where the list has classes that it does not know, with new rows for them."""
    name, datasets = plan.stage.dataset, plan.recipe.datasets
    known, classes = known_classes(name, datasets), model.classes
    by_place = len(classes) == len(source.classes) or labelled_classes(name, datasets)
    if not known and (by_place or set(classes) <= set(source.classes)):
        return head_init.rows_of(source, classes, labelled_classes(name, datasets))
    rows, how = known_rows(source, classes, known), plan.stage.new_rows
    new = [one for one, row in zip(classes, rows, strict=True) if row is None]
    if new:
        plan.display.line(
            f"head: {count(len(rows) - len(new), 'row')} of the source, {len(new)} new ({how}): {some(new)}"
        )
    if new and not known:
        plan.display.warn(
            f"the source head does not know {some(new)}, which get new rows; if they are meant, say so with known: in "
            f'the data set "{name}"; otherwise name the classes alike'
        )
    features, labels = None, None
    if new and how != "default":
        features, labels = _features(plan, model, samples, "features for new rows")
    return grown_head(source, model.source_head(), rows, how, features, labels)


def reference_model(
    plan: StagePlan, model: TransferModel, source_head: SourceHead | None, accelerator: Accelerator
) -> TransferModel | None:
    """The frozen model the stage starts from, only if some plugin asks for it."""
    hooks = ("penalty", "anchors", "gradients", "project", "edit")
    asked = {hook: plan.plugins.requests(hook) & REFERENCE for hook in hooks}
    sessions = any("session" in plan.plugins.requests(hook) for hook in ("setup", "streams", "parameters"))
    if source_head is None:
        if any(asked.values()):
            raise InputError(
                f'stage "{plan.stage.name}" starts from scratch, but one of its regularizers compares with the model '
                "it starts from; remove the regularizer or start from pretrained weights"
            )
        return None
    if not any(asked.values()) and not sessions:
        return None
    reference = reference_of(model, source_head).to(accelerator.device)
    # no gradient flows through it, so its layout is free: on a CPU convolutions are faster in this one
    return reference.to(memory_format=torch.channels_last) if accelerator.device.type == "cpu" else reference


def take_over(plan: StagePlan, optimizer: torch.optim.Optimizer) -> int:
    """Fill the optimizer's state if the recipe carries it on; the steps that the schedule has behind it.

    Momentum and its like are taken over for every parameter whose shape is still the same: a new head starts without.
    Rates and other settings are this stage's own. Raises InputError when the earlier stage's last state is gone.
    """
    what = plan.stage.carry_on
    if not what or plan.start is None:
        return 0
    folder = _last_checkpoint(plan, plan.start.parent)
    if "optimizer" in what:
        _take_over_optimizer(optimizer, load_tree(folder / "optimizer"))
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


def _take_over_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
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
