"""Options of one stage that contradict each other or the device."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from transferkit.recipe import schema
from transferkit.recipe.draft import StageDraft
from transferkit.recipe.findings import Findings
from transferkit.recipe.tree import Steps
from transferkit.suggest import did_you_mean

SCHEDULES = ("constant", "cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "none")
GPU_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu", "/dev/nvmap")


def check_stage(draft: StageDraft, device: str, findings: Findings) -> None:
    """Contradictions within the stage, without its plugins."""
    if draft.stage is None:
        return
    _check_schedule(draft.stage, (*draft.path, "schedule"), findings)
    _check_precision(draft.stage, draft.path, device, findings)
    _check_fixed_features(draft.stage, draft.path, findings)
    _check_augmentation(draft.stage, draft.path, findings)
    _check_start(draft.stage, draft.path, findings)


def has_gpu() -> bool:
    """Whether an accelerator that can compute in fp16 seems to be there; asked without torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return sys.platform != "linux" or any(Path(name).exists() for name in GPU_FILES)


def _check_schedule(stage: schema.Stage, path: Steps, findings: Findings) -> None:
    schedule = stage.schedule
    if schedule.name == "plateau":
        message = "plateau is not offered: its steps depend on evaluations, so a run could not be planned or resumed"
        findings.add((*path, "name"), message, "use cosine, or step with early_stopping")
    elif schedule.name not in SCHEDULES:
        message = f'there is no schedule called "{schedule.name}"'
        findings.add((*path, "name"), message, did_you_mean(schedule.name, SCHEDULES))
    if schedule.name == "step" and schedule.every is None:
        findings.add((*path, "name"), "the schedule step needs every: how often to decay", "every: 10")
    if schedule.name == "multistep" and not schedule.milestones:
        findings.add((*path, "name"), "the schedule multistep needs milestones: when to decay", "milestones: [10, 20]")
    if schedule.milestones != sorted(schedule.milestones):
        findings.add((*path, "milestones"), "must be in increasing order")
    length = stage.epochs if schedule.unit == "epochs" else stage.steps
    if length is not None and schedule.warmup >= length:
        message = f"the warm-up ({schedule.warmup:g} {schedule.unit}) must be shorter than the training ({length})"
        findings.add((*path, "warmup"), message)
    for key in ("min_lr", "warmup_lr"):
        if getattr(schedule, key) > stage.optimizer.lr:
            findings.add((*path, key), f"must not be above the optimizer's lr ({stage.optimizer.lr:g})")


def _check_precision(stage: schema.Stage, path: Steps, device: str, findings: Findings) -> None:
    if stage.precision == "fp16" and (device == "cpu" or (device == "auto" and not has_gpu())):
        why = "" if device == "cpu" else ", and this machine shows no GPU"
        findings.add((*path, "precision"), f"fp16 on a CPU is not possible{why}", "use bf16 or no")


def _check_fixed_features(stage: schema.Stage, path: Steps, findings: Findings) -> None:
    if stage.fixed_features:
        for key, given in (
            ("unfreeze", stage.unfreeze is not None),
            ("optimizer.layer_decay", stage.optimizer.layer_decay is not None),
        ):
            if given:
                message = "contradicts fixed_features, which keeps the whole backbone as it is"
                findings.add((*path, *key.split(".")), message, "leave out one of the two")
        if stage.start == "scratch":
            message = "with start: scratch would train a head on random features"
            findings.add((*path, "fixed_features"), message)
    if stage.unfreeze is not None and stage.epochs is not None and stage.unfreeze.every >= stage.epochs:
        message = f"never opens a group: the training ends after {stage.epochs} epochs"
        findings.add((*path, "unfreeze"), message, "lower unfreeze.every, or use fixed_features")


def _check_augmentation(stage: schema.Stage, path: Steps, findings: Findings) -> None:
    options = stage.augmentation
    default = type(options)()
    keys = [key for key in type(options).model_fields if key != "none"]
    others = [key for key in keys if getattr(options, key) != getattr(default, key)]
    if options.none and others:
        message = f"contradicts {', '.join(others)}: none trains on the evaluation transform"
        findings.add((*path, "augmentation", "none"), message)
    if options.scale is not None and options.scale[0] > options.scale[1]:
        findings.add((*path, "augmentation", "scale"), "the first share must not be above the second")
    if stage.mixup is not None and not (stage.mixup.mixup or stage.mixup.cutmix):
        findings.add((*path, "mixup"), "does nothing: give mixup or cutmix above 0", "or leave it out")


def _check_start(stage: schema.Stage, path: Steps, findings: Findings) -> None:
    """Keys that need something to start from, or each other."""
    if stage.start == "scratch" and stage.head_init in ("source", "ridge"):
        what = "the head of" if stage.head_init == "source" else "features of"
        findings.add((*path, "head_init"), f"{stage.head_init} needs {what} a source model, but start is scratch")
    if stage.evaluate_images is not None and not stage.evaluate_at:
        findings.add((*path, "evaluate_images"), "does nothing without evaluate_at", "evaluate_at: [0, 10, 30, 100]")
    if stage.evaluate_at != sorted(set(stage.evaluate_at)):
        findings.add((*path, "evaluate_at"), "must be in increasing order, each step once")
    if stage.carry_on and stage.start in ("scratch", "pretrained"):
        message = f"needs an earlier stage to go on from, but start is {stage.start}"
        findings.add((*path, "carry_on"), message, "start: NAME of a stage")
