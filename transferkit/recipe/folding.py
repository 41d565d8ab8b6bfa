"""Cross-validation: which stages validate on a fold of their training images, and what contradicts that."""

from __future__ import annotations

from collections.abc import Mapping

from transferkit.recipe.draft import Draft, StageDraft
from transferkit.recipe.lineage import lineage, resolved
from transferkit.recipe.schema import Recipe, Stage

SAME = ("classes", "splits", "labels", "group", "on_bad_image")
"""What a data set says of which images there are."""


def fold_of(recipe: Recipe, stage: Stage) -> tuple[int, int] | None:
    """(which fold from 0, of how many) a stage validates on, if it does; without `fold` the first.

    So does every stage on the images that the last stage is trained on, and no other.
    """
    if recipe.folds is None:
        return None
    ends = [lineage(one.dataset, recipe.datasets)[-1] for one in (stage, recipe.stages[-1])]
    return ((recipe.fold or 1) - 1, recipe.folds) if ends[0] == ends[1] else None


def check_folds(draft: Draft) -> None:
    """What `folds` and `fold` say against each other and against the data sets."""
    header, problems = draft.header, draft.problems
    if header is None or (header.folds is None and header.fold is None):
        return
    if header.folds is None:
        problems.add(("fold",), "is one of folds, and there are none", "say how many there are: folds: 5")
    elif header.fold is not None and header.fold > header.folds:
        problems.add(("fold",), f"is {header.fold}, and there are {header.folds} folds")
    if header.folds is not None and header.repeat > 1:
        message = "repeats with other seeds, and folds with other images: one of them at a time"
        problems.add(("repeat",), message, "leave out one; for other folds run it again with another seed")
    last = draft.stages[-1].stage if draft.stages else None
    mine = None if last is None else resolved(last.dataset, draft.datasets)
    if last is None or mine is None or header.folds is None:
        return
    if mine.synthetic is not None:
        problems.add(("folds",), f'"{last.dataset}" is a table of numbers, of which any number of rows can be drawn')
    for stage in draft.stages:
        other = None if stage.stage is None else resolved(stage.stage.dataset, draft.datasets)
        if stage.stage is None or other is None or stage.stage.dataset == last.dataset:
            continue
        ends = [lineage(one.dataset, draft.datasets)[-1] for one in (stage.stage, last)]
        differing = [key for key in SAME if getattr(other, key) != getattr(mine, key)]
        if ends[0] == ends[1] and differing:
            message = f'has other {differing[0]} than "{last.dataset}", so that their folds would be of other images'
            problems.add((*stage.path, "dataset"), message, f"{differing[0]} has to be the same where there are folds")


def check_fold_sizes(
    train: dict[str, int], members: Mapping[str, Mapping[str, int]] | None, folds: int, draft: Draft, stage: StageDraft
) -> None:
    """Every fold needs images, and every class an image that is in another fold."""
    units = sum(train.values()) if members is None else len(members)
    of = "images" if members is None else "groups"
    if units < folds:
        draft.problems.add(("folds",), f'"{stage.name}" has {units} {of} for {folds} folds')
        return
    for label, count in train.items():
        together = 0 if members is None else sum(label in classes for classes in members.values())
        if count == 1 or together == 1:
            why = "one image" if count == 1 else "all its images in one group"
            message = f'"{stage.name}": the class "{label}" has {why}, and its fold would be trained without it'
            draft.problems.add(("folds",), message, "give more images of it, or leave it out with classes")
            return
