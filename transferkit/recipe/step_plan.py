"""What a stage will do, in numbers: images, batches, steps, evaluations and checkpoints. Without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from transferkit.data.shares import rounded_share
from transferkit.recipe.counting import class_counts
from transferkit.recipe.schema import Recipe, Stage


@dataclass(frozen=True)
class StepPlan:
    """The numbers of one stage; None where they are known only once the data are opened."""

    stage: str
    train: Mapping[str, int] | None
    validation: Mapping[str, int] | None
    carved: bool
    test: Mapping[str, int] | None
    effective_batch: int
    batches_per_epoch: int | None
    steps_per_epoch: int | None
    total_steps: int | None
    epochs: float | None
    evaluations: int | None
    checkpoints: int | None


def step_plan(recipe: Recipe, stage: Stage) -> StepPlan:
    """The plan of a stage in one process. Raises InputError when its data cannot be read."""
    counts = class_counts(stage.dataset, recipe.datasets) or {}
    train = {label: number for label, number in counts.get("train", {}).items() if number}
    carved = bool(train) and "val" not in counts and stage.validation > 0
    left = after_carving(train, stage.validation if carved else 0)
    validation = {label: train[label] - left[label] for label in train} if carved else counts.get("val")
    used = {label: rounded_share(stage.fraction, number) for label, number in left.items()}
    images = sum(used.values())
    batches = batches_per_epoch(images, stage.batch_size, mixed=stage.curriculum is not None) if images else None
    steps = math.ceil(batches / stage.accumulate) if batches else None
    total = stage.steps if stage.steps is not None else (stage.epochs or 0) * steps if steps else None
    epochs = float(stage.epochs) if stage.epochs is not None else total / steps if steps and total else None
    return StepPlan(
        stage=stage.name,
        train=used or None,
        validation=validation or None,
        carved=carved,
        test=counts.get("test"),
        effective_batch=stage.batch_size * stage.accumulate,
        batches_per_epoch=batches,
        steps_per_epoch=steps,
        total_steps=total,
        epochs=epochs,
        evaluations=_times(epochs, stage.evaluate_every),
        checkpoints=_times(epochs, stage.checkpoints.every),
    )


def batches_per_epoch(images: int, batch_size: int, *, mixed: bool = False) -> int:
    """Forward passes per epoch: a last batch of a single image joins the one before it, unless streams are mixed."""
    batches = math.ceil(images / batch_size)
    return batches - 1 if batches > 1 and not mixed and 0 < images % batch_size < 2 else batches


def after_carving(counts: Mapping[str, int], share: float) -> dict[str, int]:
    """Training images per class when a share is held out: at least one on either side where there are two."""
    left = dict(counts)
    for label, number in counts.items():
        if share > 0 and number >= 2:
            left[label] = number - min(max(rounded_share(share, number), 1), number - 1)
    return left


def _times(epochs: float | None, every: int) -> int | None:
    """How often something happens that is due every so many epochs and at the end."""
    return None if epochs is None else math.ceil(math.ceil(epochs) / every)
