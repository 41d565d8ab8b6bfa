"""What a recipe says against itself: names that do not exist, stages out of order, plugins in the wrong place, options
that contradict each other or the device.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

from transferkit.errors import InputError
from transferkit.hookspecs import REFERENCE
from transferkit.plugins.contained import contained, told
from transferkit.plugins.hooks import Plugin, RunPlugins
from transferkit.plugins.options import reference_options
from transferkit.recipe import schema
from transferkit.recipe.draft import Draft, StageDraft
from transferkit.recipe.folding import check_folds
from transferkit.recipe.lineage import lineage
from transferkit.recipe.paths import STARTS, looks_like_path
from transferkit.recipe.plugin_use import Use, requested
from transferkit.recipe.selection import OWN, selection
from transferkit.recipe.still import Found, without_training
from transferkit.recipe.table_checks import check_tables
from transferkit.recipe.timm_names import unknown_model, unknown_optimizer
from transferkit.recipe.trackers import wrong_tracker
from transferkit.recipe.tree import Problems, Steps
from transferkit.recipe.uses import PluginUse, RegularizerUse
from transferkit.system.signals import TO_STOP
from transferkit.words.suggest import did_you_mean

SCHEDULES = ("constant", "cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "none")
GPU_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu", "/dev/nvmap")
CHANGES = ("gradients", "project")


def check_recipe(draft: Draft) -> None:
    """Every contradiction that can be seen without data, weights or torch."""
    _check_stage_names(draft)
    _check_datasets(draft)
    _check_analyses(draft)
    for use in draft.uses:
        for name, what in reference_options(use.component.options).items() if use.component is not None else ():
            _known(draft, (*use.path, name), what)
    check_tables(draft)
    check_folds(draft)
    _check_timm_names(draft)
    for index, name in enumerate(draft.header.trackers if draft.header is not None else ()):
        if (wrong := wrong_tracker(name)) is not None:
            draft.problems.add(("trackers", index), *wrong)
    device = draft.header.device if draft.header is not None else "auto"
    for index, stage in enumerate(draft.stages):
        _check_references(draft, stage, index)
        if stage.stage is not None:
            _add(draft.problems, stage.path, _carry_on_contradictions(draft, stage.stage, index))
            _add(draft.problems, stage.path, _stage_contradictions(stage.stage, device))
            _add(draft.problems, stage.path, _adapter_contradictions(stage.stage, stage.uses))
            _check_selection(draft.problems, stage, stage.stage)
            _add(draft.problems, stage.path, without_training(draft, stage.stage, index))
        for use in stage.uses:
            _check_weight(use, draft.problems)
            if use.plugin is not None and stage.stage is not None:
                _add(draft.problems, use.path, _plugin_contradictions(use, use.plugin, stage.stage))
                _ask_plugin(use.plugin, (*use.path, "use"), stage.stage, draft.problems)
        check_instance_names(stage.uses, draft.problems)


def _check_timm_names(draft: Draft) -> None:
    """Models and optimizers that neither timm nor an installed plugin has."""
    places: list[Steps] = [("model", "name"), *((*stage.path, "model", "name") for stage in draft.stages)]
    for path in places:
        name = node.value if (node := draft.root.find(path)) is not None else None
        if isinstance(name, str) and name not in draft.registry.models and (wrong := unknown_model(name)):
            draft.problems.add(path, *wrong)
    for stage in draft.stages:
        node = draft.root.find((*stage.path, "optimizer", "name"))
        if node is not None and isinstance(node.value, str) and (wrong := unknown_optimizer(node.value)):
            draft.problems.add((*stage.path, "optimizer", "name"), *wrong)


def _add(problems: Problems, path: Steps, found: Iterable[Found]) -> None:
    for below, message, hint in found:
        problems.add((*path, *below), message, hint)


def check_instance_names(uses: Iterable[Use], problems: Problems) -> None:
    """Logs, state and overrides know a plugin by its name, so there can be only one of each."""
    seen: set[str] = set()
    for use in uses:
        if use.core is None:
            continue
        name = use.core.instance_name
        if name in seen:
            hint = "give one of them a name: of its own"
            problems.add((*use.path, "name" if use.core.name else "use"), f'a second plugin is called "{name}"', hint)
        seen.add(name)


def _check_stage_names(draft: Draft) -> None:
    seen: set[str] = set()
    for stage in draft.stages:
        path = (*stage.path, "name")
        if stage.name in seen:
            draft.problems.add(path, f'a second stage is called "{stage.name}"')
        if stage.name in STARTS:
            draft.problems.add(path, f'"{stage.name}" is a kind of start, so no stage can be called so')
        seen.add(stage.name or "")


def _check_references(draft: Draft, stage: StageDraft, index: int) -> None:
    problems, path = draft.problems, (*stage.path, "start")
    _known(draft, (*stage.path, "dataset"), "data set")
    evaluate = stage.node.child("evaluate")
    for position, item in enumerate(evaluate.value if evaluate and isinstance(evaluate.value, list) else ()):
        if item.value in schema.SPLITS:  # in the metrics, these names are the stage's own splits
            message = f'a data set called "{item.value}" cannot be evaluated beside the split of that name'
            problems.add((*stage.path, "evaluate", position), message, "give the data set another name")
    _known(draft, (*stage.path, "evaluate"), "data set")
    start, names = stage.node.text("start"), draft.stage_names()
    earlier = [other.name for other in draft.stages[:index] if other.name]
    if start is None or start in (*STARTS, *earlier) or (looks_like_path(start) and start not in names):
        return
    if start == stage.name:
        problems.add(path, "a stage cannot start from itself", did_you_mean("", [*STARTS, *earlier]))
    elif start in names:
        hint = "stages run in the order of the list: put that one first"
        problems.add(path, f'the stage "{start}" comes later', hint)
    else:
        message = f'there is no stage called "{start}", and no such folder'
        problems.add(path, message, did_you_mean(start, [*STARTS, *earlier]))


def _carry_on_contradictions(draft: Draft, this: schema.Stage, index: int) -> Iterator[Found]:
    """What goes on must be there: the last state of an earlier stage, of the same optimizer."""
    if not this.carry_on or this.start in STARTS:
        return
    earlier = next((other.stage for other in draft.stages[:index] if other.name == this.start), None)
    at, state = ("carry_on",), "optimizer" in this.carry_on
    if earlier is None:
        message = f'needs a stage of this recipe to go on from, and "{this.start}" is none'
        yield at, message, "leave it out, or run both stages in one recipe"
    elif earlier.keep != "last":
        message = f'goes on from the end of "{this.start}", but that stage keeps its best epoch'
        yield at, message, f"give the stage {this.start} keep: last"
    elif state and earlier.optimizer.name.lower() != this.optimizer.name.lower():
        message = f'"{this.start}" has the optimizer {earlier.optimizer.name}, this stage {this.optimizer.name}'
        yield at, message, "use the same optimizer, or leave optimizer out of carry_on"
    elif state and (earlier.optimizer.layer_decay is None) != (this.optimizer.layer_decay is None):
        # the parameters come in another order then: each would go on with another one's momentum
        message = f'one of "{this.start}" and this stage has optimizer.layer_decay, the other has not'
        yield at, message, "give both one, or leave optimizer out of carry_on"


def _known(draft: Draft, path: Steps, what: str) -> None:
    """Whether the name at a path, or each of a list of names there, is one of a stage or a data set of the recipe."""
    node = draft.root.find(path)
    if node is not None and isinstance(node.value, list):
        for position in range(len(node.value)):
            _known(draft, (*path, position), what)
        return
    names = draft.stage_names() if what == "stage" else list(draft.datasets)
    if node is not None and isinstance(node.value, str) and node.value not in names and names:
        draft.problems.add(path, f'there is no {what} called "{node.value}"', did_you_mean(node.value, names))


def _check_datasets(draft: Draft) -> None:
    circles: set[frozenset[str]] = set()
    for name in draft.datasets:
        _known(draft, ("datasets", name, "from"), "data set")
        circle = lineage(name, draft.datasets)
        if circle[-1] == name and len(circle) > 1 and frozenset(circle) not in circles:
            circles.add(frozenset(circle))
            draft.problems.add(("datasets", name, "from"), f"goes round in a circle: {' -> '.join(circle)}")
        check_instance_names(draft.planted.get(name, []), draft.problems)


def _check_analyses(draft: Draft) -> None:
    check_instance_names(draft.analyses, draft.problems)
    for use in draft.analyses:
        _known(draft, (*use.path, "dataset"), "data set")
        for key in ("stage", "source", "baseline"):
            _known(draft, (*use.path, key), "stage")


def _check_selection(problems: Problems, drafted: StageDraft, stage: schema.Stage) -> None:
    """What chooses the best epoch must be a number that a metric of the stage declares, and one for all."""
    stopping, metrics, unread = stage.early_stopping, {}, False
    for use in drafted.uses:
        if use.kind != "metric":
            continue
        unread |= use.component is None or use.core is None
        if use.component is not None and use.core is not None:
            metrics[use.core.instance_name] = use.component
            if use.core.instance_name in OWN:
                message = f'a metric cannot be called "{use.core.instance_name}", which every evaluation has'
                problems.add((*use.path, "name" if use.core.name else "use"), message, "give it a name: of its own")
    watched = None if stopping is None else stopping.metric
    if watched is not None and watched != stage.select:
        message = f"is {watched}, but select is {stage.select}: what is watched is what is selected"
        problems.add((*drafted.path, "early_stopping", "metric"), message, "leave one of them out")
    try:
        selection(stage.select, metrics)
    except InputError as error:
        if not unread:
            at = ("select",) if "select" in drafted.node.value else ("early_stopping", "metric")
            problems.refused((*drafted.path, *at), error)


def _check_weight(use: Use, problems: Problems) -> None:
    """Penalties and anchors are multiplied by a weight; nothing else is."""
    if not isinstance(use.core, RegularizerUse) or use.component is None or use.plugin is None:
        return
    weighs = bool({"penalty", "anchors"} & set(use.component.hooks))
    given = problems.root.find((*use.path, "weight"))
    if weighs and (given is None or given.value is None):
        problems.add((*use.path, "weight"), "is missing", at_key=True)
    elif not weighs and use.core.weight is not None and {"transform_features", *CHANGES} & set(use.component.hooks):
        message = f"{use.core.use} adds nothing to the loss, so it has no weight"
        problems.add((*use.path, "weight"), message, "leave it out")


def _plugin_contradictions(use: Use, plugin: Plugin, stage: schema.Stage) -> Iterator[Found]:
    at, decay = ("use",), stage.optimizer.weight_decay
    if "weight_decay" in plugin.component.declared.conflicts and decay > 0 and "weight_decay" not in stage.accept:
        message = f"pulls the weights as the optimizer's weight_decay ({decay:g}) does: they would be pulled twice"
        yield at, message, "set optimizer.weight_decay: 0, or say that it is meant with accept: [weight_decay]"
    if stage.start == "scratch" and requested(plugin) & REFERENCE:
        message = "needs the model that the stage starts from, but start is scratch"
        yield at, message, "leave it out of this stage"
    calls = {name for call in RunPlugins([plugin]).calls("penalty") for name in call.requests}
    if stage.fixed_features and calls & {"features", "taps"} and not calls & {"logits", "head", "model"}:
        yield at, "acts on the features, which fixed_features keeps as they are", "leave out one of the two"
    stream = use.core.on if isinstance(use.core, RegularizerUse) else "all"
    if stage.curriculum is None and stream not in ("target", "all"):
        yield ("on",), f'there is no stream "{stream}": without a curriculum the only one is target', None


def _ask_plugin(plugin: Plugin, at: Steps, stage: schema.Stage, problems: Problems) -> None:
    """The plugin's own `check(stage)`."""
    try:
        with contained():
            for call in RunPlugins([plugin]).calls("check"):
                sentences = call(SimpleNamespace(stage=stage)) or ()
                for text in [sentences] if isinstance(sentences, str) else sentences:
                    problems.add(at, text)
    except TO_STOP:
        raise
    except BaseException as error:  # a plugin's check that fails is reported like everything else
        problems.add(at, f"its check failed with {told(error)}", str(plugin.component.owner))


# -- options of one stage that contradict each other or the device ----------------------------------------------------


def has_gpu() -> bool:
    """Whether an accelerator that can compute in fp16 seems to be there; asked without torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return sys.platform != "linux" or any(Path(name).exists() for name in GPU_FILES)


def _stage_contradictions(stage: schema.Stage, device: str) -> Iterator[Found]:
    yield from _schedule_contradictions(stage, stage.schedule)
    if stage.precision == "fp16" and (device == "cpu" or (device == "auto" and not has_gpu())):
        why = "" if device == "cpu" else ", and this machine shows no GPU"
        yield ("precision",), f"fp16 on a CPU is not possible{why}", "use bf16 or no"
    if stage.fixed_features:
        message = "contradicts fixed_features, which keeps the whole backbone as it is"
        if stage.unfreeze is not None:
            yield ("unfreeze",), message, "leave out one of the two"
        if stage.optimizer.layer_decay is not None:
            yield ("optimizer", "layer_decay"), message, "leave out one of the two"
        if stage.gradient_checkpointing:
            message = "does nothing with fixed_features: no gradient goes through the backbone, which keeps nothing"
            yield ("gradient_checkpointing",), message, "leave it out"
        if stage.start == "scratch":
            yield ("fixed_features",), "with start: scratch would train a head on random features", None
    if stage.unfreeze is not None and stage.epochs is not None and stage.unfreeze.every >= stage.epochs:
        message = f"never opens a group: the training ends after {stage.epochs} epochs"
        yield ("unfreeze",), message, "lower unfreeze.every, or use fixed_features"
    options, default = stage.augmentation, schema.Augmentation()
    keys = [key for key in type(options).model_fields if key != "none"]
    others = [key for key in keys if getattr(options, key) != getattr(default, key)]
    if options.none and others:
        message = f"contradicts {', '.join(others)}: none trains on the evaluation transform"
        yield ("augmentation", "none"), message, None
    if options.scale is not None and options.scale[0] > options.scale[1]:
        yield ("augmentation", "scale"), "the first share must not be above the second", None
    if isinstance(stage.loss, PluginUse) and stage.balance in ("loss", "logit_adjustment"):
        message = f"{stage.balance} changes the usual loss, and {stage.loss.use} takes its place"
        yield ("balance",), message, "use balance: sampling, or leave it out"
    if stage.mixup is not None and not (stage.mixup.mixup or stage.mixup.cutmix):
        yield ("mixup",), "does nothing: give mixup or cutmix above 0", "or leave it out"
    if stage.start == "scratch" and stage.head_init in ("source", "ridge"):
        what = "the head of" if stage.head_init == "source" else "features of"
        yield ("head_init",), f"{stage.head_init} needs {what} a source model, but start is scratch", None
    if stage.evaluate_images is not None and not stage.evaluate_at:
        yield ("evaluate_images",), "does nothing without evaluate_at", "evaluate_at: [0, 10, 30, 100]"
    if stage.evaluate_at != sorted(set(stage.evaluate_at)):
        yield ("evaluate_at",), "must be in increasing order, each step once", None
    if stage.carry_on and stage.start in STARTS:
        message = f"needs an earlier stage to go on from, but start is {stage.start}"
        yield ("carry_on",), message, "start: NAME of a stage"


def _adapter_contradictions(stage: schema.Stage, uses: Iterable[Use]) -> Iterator[Found]:
    """What adapters say of themselves against what the stage says about freezing and saving."""
    for use in uses:
        if use.kind != "adapter" or use.core is None or use.component is None:
            continue
        name, declared = use.core.instance_name, use.component.declared
        if stage.fixed_features:
            message = f"keeps the whole backbone as it is, the layers of {name} too: they would change nothing"
            yield ("fixed_features",), message, "leave out one of the two"
        if stage.freeze == "bitfit" and declared.freezes:
            message = f"bitfit trains the backbone's biases, and {name} keeps all that is not its own as it is"
            yield ("freeze",), message, "leave out one of the two"
        if not declared.merges and not stage.keep_adapted:
            message = f"the layers of {name} cannot be merged into plain ones, so plain timm could not open the model"
            hint = f"keep_adapted: true saves them as they are; only transferkit with {use.component.owner} opens that"
            yield (*use.path[-2:], "use"), message, hint
    if stage.keep_adapted and not stage.adapters:
        yield ("keep_adapted",), "does nothing without adapters", "leave it out"
    if stage.fixed_features and stage.freeze == "bitfit":
        yield ("freeze",), "bitfit trains the backbone's biases, which fixed_features keeps as they are", None


def _schedule_contradictions(stage: schema.Stage, schedule: schema.Schedule) -> Iterator[Found]:
    name = ("schedule", "name")
    if schedule.name == "plateau":
        message = "plateau is not offered: its steps depend on evaluations, so a run could not be planned or resumed"
        yield name, message, "use cosine, or step with early_stopping"
    elif schedule.name not in SCHEDULES:
        yield name, f'there is no schedule called "{schedule.name}"', did_you_mean(schedule.name, SCHEDULES)
    if schedule.name == "step" and schedule.every is None:
        yield name, "the schedule step needs every: how often to decay", "every: 10"
    if schedule.name == "multistep" and not schedule.milestones:
        yield name, "the schedule multistep needs milestones: when to decay", "milestones: [10, 20]"
    if schedule.milestones != sorted(schedule.milestones):
        yield ("schedule", "milestones"), "must be in increasing order", None
    length = stage.epochs if schedule.unit == "epochs" else stage.steps
    if length is not None and schedule.warmup >= length:
        message = f"the warm-up ({schedule.warmup:g} {schedule.unit}) must be shorter than the training ({length})"
        yield ("schedule", "warmup"), message, None
    for key in ("min_lr", "warmup_lr"):
        if getattr(schedule, key) > stage.optimizer.lr:
            yield ("schedule", key), f"must not be above the optimizer's lr ({stage.optimizer.lr:g})", None
