"""A learning-rate range test of a stage, and three short runs around what it suggests; all on models of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.data.batches import Batch
from transferkit.errors import InputError, NonFiniteError
from transferkit.model.passes import features_of
from transferkit.recipe import Loaded
from transferkit.runs.folder import RunFolder
from transferkit.runs.planning import plan_stage
from transferkit.system.signals import StopSignal
from transferkit.training import rates as curve
from transferkit.training.loop import train
from transferkit.training.objective import Losses
from transferkit.training.prepare import opened
from transferkit.training.progress import Display
from transferkit.training.trainer import Trainer

MOST_FEATURES = 1024  # images whose features give the head's limit
NESTEROV, HEAVY_BALL = ("sgd", "nesterov"), ("momentum",)  # the forms whose limit is known


@dataclass
class Checked:
    """A short run at one rate: the mean loss of its last quarter, None where it was no number."""

    lr: float
    loss: float | None


@dataclass
class RangeTest:
    """What was tried and found; rates are those of `optimizer.lr`, before multipliers of the head and layers.

    `suggested` is the best of the three short runs, `from_curve` what they were around; both None where the loss never
    fell. `limit` is None for optimizers and losses that have no such formula.
    """

    stage: str
    optimizer: str
    rates: list[float]
    losses: list[float]
    smoothed: list[float] = field(default_factory=list)
    from_curve: curve.Suggested | None = None
    checked: list[Checked] = field(default_factory=list)
    suggested: float | None = None
    limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def range_test(
    loaded: Loaded,
    name: str,
    *,
    low: float,
    high: float,
    steps: int,
    check: int,
    stop: StopSignal,
    tell: Callable[[str], None],
) -> RangeTest:
    """Train the stage for so many steps with rates from `low` to `high`, then three times `check` steps; 0: not at all.

    Each time a model is built anew in a temporary folder: nothing of the recipe, its data or its models is written.
    Raises InputError for a stage that does not train or starts from one that is not there.
    """
    stage = loaded.recipe.stage(name)
    if not stage.trains:
        raise InputError(f'the stage "{name}" only edits a model: it has no learning rate')
    if any(other.name == stage.start for other in loaded.recipe.stages):
        raise InputError(
            f'the stage "{name}" starts from "{stage.start}", whose model is not there yet; train that, and give '
            f"stages.{name}.start=runs/…/stages/{stage.start}/model"
        )
    grid = curve.rates(low, high, steps)
    tell(f"{steps} steps of stage {name} with rates from {low:g} to {high:g}")
    losses, limit = _attempt(loaded, name, grid, stop, watch=True)
    found = RangeTest(name, stage.optimizer.name, grid[: len(losses)], losses, limit=limit)
    finite = [loss for loss in losses if np.isfinite(loss)]
    found.smoothed = [float(one) for one in curve.smoothed(finite)]
    found.from_curve = curve.suggestion(found.rates, losses)
    if found.from_curve is None or not check:
        found.suggested = None if found.from_curve is None else found.from_curve.rate
        return found
    for factor in curve.AROUND:
        lr = found.from_curve.rate * factor
        tell(f"{check} steps at {lr:.2g}")
        some, _ = _attempt(loaded, name, [lr] * check, stop, watch=False)
        last = some[-max(1, check // 4) :]
        whole = len(some) == check and bool(np.isfinite(last).all())
        found.checked.append(Checked(lr, float(np.mean(last)) if whole else None))
    trained = [one for one in found.checked if one.loss is not None]
    found.suggested = min(trained, key=lambda one: one.loss or 0.0).lr if trained else None
    return found


def _attempt(
    loaded: Loaded, name: str, grid: Sequence[float], stop: StopSignal, *, watch: bool
) -> tuple[list[float], float | None]:
    """The task's loss at every step, one for each rate, and with `watch` the head's limit; ends where it is ruined."""
    with tempfile.TemporaryDirectory(prefix="transferkit-lr-") as place:
        folder = RunFolder(Path(place))
        plan = plan_stage(loaded, name, folder, folder, display=Display(quiet=True), stop=stop)
        plan.stage = plan.stage.model_copy(update={"steps": len(grid), "epochs": None, "evaluate_at": []})
        losses: list[float] = []
        with opened(plan) as session:
            session.validation, session.others, session.early = None, {}, {}
            limit = head_limit(session) if watch else None
            _watch(session, losses, grid, watch)
            try:
                train(session)
            except NonFiniteError:
                losses.append(float("nan"))
    return losses, limit


def _watch(session: Trainer, found: list[float], grid: Sequence[float], ends: bool) -> None:
    """Let the session take its rates from `grid`, keep nothing, and note each step's loss."""
    whole = session.end_step

    class Given:
        def step_update(self, step: int) -> None:
            for group in session.optimizer.param_groups:
                group["lr"] = grid[session.state.step] * group.get("lr_scale", 1.0)

    def end_step(losses: Sequence[Losses], batches: Sequence[Batch]) -> None:
        whole(losses, batches)
        found.append(float(sum(one.task.detach() for one in losses)))  # micro-batches have their shares of the step
        if ends and curve.ruined(found):
            session.total_steps = session.state.step

    session.schedule = Given()
    session.end_step = end_step  # type: ignore[method-assign]
    session.save = lambda *, always=False: None  # type: ignore[method-assign]


def head_limit(session: Trainer) -> float | None:
    """The rate up to which SGD on the head is certainly stable on the features that the stage starts from.

    None for other optimizers, whose steps are scaled, and for other losses.
    """
    options, name = session.stage.optimizer, session.stage.optimizer.name.lower()
    usual = session.stage.own_loss.name == "cross_entropy" and session.stage.loss is session.stage.own_loss
    if name not in (*NESTEROV, *HEAVY_BALL) or not usual or session.mixup is not None:
        return None
    samples = session.train_samples
    chosen = samples.subset(np.linspace(0, len(samples) - 1, min(len(samples), MOST_FEATURES)).astype(int))
    features, _ = features_of(session.model, chosen, session.display.task, "features", batch_size=32)
    limit = curve.stability_limit(features, options.momentum, nesterov=name in NESTEROV)
    return limit / options.head_lr_multiplier
