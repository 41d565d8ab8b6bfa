"""`auto_batch`: where memory does not suffice, fewer images go through at once, and as many as before make a step."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from accelerate.utils import release_memory

from transferkit.errors import OutOfMemory
from transferkit.runs.planning import PassSize
from transferkit.system.memory import smaller_batch
from transferkit.training.checkpoint import Checkpoints, step_of
from transferkit.training.stage_plan import StagePlan


def train_as_it_fits(
    plan: StagePlan, attempt: Callable[[StagePlan], None], again: Callable[[PassSize], StagePlan]
) -> StagePlan:
    """Attempt the stage, and begin anew with half as many images at once as long as memory is short; the last plan.

    Only with `auto_batch`, and only as long as no step of it is in a checkpoint: later it raises OutOfMemory, as ever.
    """
    while True:
        try:
            attempt(plan)
            return plan
        except OutOfMemory:
            fits = smaller(plan)
            if fits is None:
                raise
        # out here nothing holds the tensors of the attempt any more
        release_memory()
        size, accumulate = fits
        plan.display.line(
            f"stage {plan.stage.name}: out of memory with {plan.stage.batch_size} images at once; beginning anew with "
            f"batch_size: {size}, accumulate: {accumulate}",
            style="yellow",
        )
        plan = again(fits)


def smaller(plan: StagePlan) -> PassSize | None:
    """Half as many images at once for steps of as many; None where that is not asked for or cannot be."""
    stage = plan.stage
    checkpoints = plan.out / "checkpoints"
    trained = any(step_of(folder) for folder in Checkpoints(checkpoints).folders())  # more than the start, at step 0
    fits = halved(stage.batch_size, stage.accumulate)
    if not stage.auto_batch or trained or fits is None:
        return None
    shutil.rmtree(checkpoints, ignore_errors=True)  # the start, which is evaluated again
    return fits


def halved(batch_size: int, accumulate: int) -> PassSize | None:
    """(batch_size, accumulate) with the same product and at most half as many images; None for one image.

    32, 1 -> 16, 2; where no half divides the product, the largest divisor below it: 9, 1 -> 3, 3.
    """
    return smaller_batch(batch_size, accumulate, batch_size // 2)
