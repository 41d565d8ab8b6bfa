"""What a recipe's options of the curriculum say against each other, or against the stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transferkit.recipe.schema import Stage
    from transferkit_task_interpolation.curriculum import TaskInterpolation


def contradictions(given: TaskInterpolation, stage: Stage, parts: int) -> list[str]:
    """One sentence each; `parts` is the number of lams that are left after skip_source_stage."""
    return [*_among_options(given, parts), *_with_stage(given, stage, parts)]


def _among_options(given: TaskInterpolation, parts: int) -> list[str]:
    found = []
    if given.skip_source_stage and given.lams[0] > 0:
        found.append(f"skip_source_stage has nothing to skip: lams begins with {given.lams[0]:g}, not 0")
    if given.beta and given.mode == "mixture":
        found.append("beta draws how pixels are blended, but mode mixture does not blend; use mode mixup or coupled")
    if given.blocks is not None and given.mode != "coupled":
        found.append(f"blocks is how mode coupled matches images, but the mode is {given.mode}")
    if given.band is not None and given.pace != "loss":
        found.append("band belongs to pace: loss, but the pace is grid")
    if given.pace == "loss" and given.shape != "grid":
        found.append(f"pace: loss moves lam by the training loss, so shape: {given.shape} would do nothing")
    if given.pace == "loss" and parts == 1:
        found.append("pace: loss has nothing to move: lam is 1 throughout")
    return found


def _with_stage(given: TaskInterpolation, stage: Stage, parts: int) -> list[str]:
    found = []
    if given.source == stage.dataset:
        found.append(f"the source task's data set \"{given.source}\" is the stage's own; source names another one")
    needs = f"{parts} lams" if given.shape == "grid" else f"a {given.shape} lam"
    least = parts if given.shape == "grid" else 1
    for name, length in (("epochs", stage.epochs), ("steps", stage.steps)):
        if length is not None and length < least:
            found.append(f"{needs} need at least {least} {name}; the stage has {length}")
    if given.mode != "mixture" and stage.mixup is not None:
        found.append(
            f"mode {given.mode} blends target images with source images, and the stage's mixup blends them with each "
            "other first; leave out one of the two, or use mode mixture"
        )
    if given.mode == "coupled" and stage.start == "scratch":
        found.append("mode coupled compares images by the features of the model that the stage starts from: scratch")
    if given.mode == "mixture" and given.heads == "separate" and stage.fixed_features:
        found.append(
            "with fixed_features, mode mixture and heads: separate the source images change nothing that the target "
            "uses; use heads: shared or concat, or leave out fixed_features"
        )
    return found
