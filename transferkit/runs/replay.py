"""A step of a run once more, bit for bit: from the nearest checkpoint and the keys, in a folder of its own.

It is the loop that trains here too, with other ends: what it would write goes to a temporary folder, and it stops where
the weights would change. The folder of the run is only read.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torchvision.utils import save_image

from transferkit.errors import InputError, NonFiniteError
from transferkit.recipe import Loaded, load_recipe
from transferkit.report import write_json
from transferkit.runs.folder import RunFolder
from transferkit.runs.planning import plan_stage
from transferkit.system.atomic import make_folder
from transferkit.training.checkpoint import Checkpoints
from transferkit.training.examine import Examination, examine, gradients, norms_by_layer
from transferkit.training.loop import train
from transferkit.training.non_finite import broken_state, diagnose
from transferkit.training.optimization import learning_rates
from transferkit.training.pictures import grid_of
from transferkit.training.prepare import opened
from transferkit.training.saving import restore
from transferkit.words.formats import some
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.data.batches import Batch
    from transferkit.data.streams import Combined
    from transferkit.model.preprocessing import Preprocessing
    from transferkit.recipe.schema import Stage
    from transferkit.system.signals import StopSignal
    from transferkit.training.objective import Losses
    from transferkit.training.progress import Display
    from transferkit.training.trainer import Trainer


@dataclass
class Replayed:
    """A step as the run computed it, up to the moment before the weights change."""

    record: dict[str, Any]  # everything that is no tensor
    losses: list[Losses]  # by micro-batch
    gradients: dict[str, Tensor]  # by parameter, as the optimizer gets them
    given: list[Combined]  # what the model saw, by micro-batch
    preprocessing: Preprocessing

    def write(self, folder: Path) -> None:
        """Put `replay.json` and a picture of the images of each stream into a folder."""
        make_folder(folder)
        write_json(folder / "replay.json", self.record)
        for number, given in enumerate(self.given):
            for stream, images in given.images.items():
                if images.ndim == 4 and len(images):
                    grid = grid_of(images.detach().float().cpu().nan_to_num(), self.preprocessing)
                    save_image(grid, folder / f"{stream}-{number}.png")


@dataclass(eq=False)
class _Reached(Exception):
    """The loop has come to the step: its losses and micro-batches."""

    losses: Sequence[Losses]
    batches: Sequence[Batch]


@dataclass(eq=False)
class _Ruined(Exception):
    """The last update has left something that is not finite."""

    step: int
    broken: list[str]


def replay(
    run: Path | str,
    *,
    stage: str | None = None,
    step: int | None = None,
    display: Display,
    stop: StopSignal,
    allow_plugins: bool = False,
) -> Replayed:
    """The step that begins when `step` steps of the stage are done; of a failed run the one at which it failed.

    The steps since the nearest checkpoint are trained again. Raises InputError for a folder that is no run, a stage
    or a step that it does not have or did not come to.
    """
    folder = RunFolder.open(Path(run))
    loaded = load_recipe(folder.path / "recipe.yaml", allow_plugins=allow_plugins)
    chosen = _stage(folder, loaded, stage)
    if step is None and folder.result.get("status") != "failed":
        raise InputError(f"{folder.path} has not failed: say which step you mean, --step 0 for the first")
    try:
        return _replay(folder, loaded, chosen, step, display, stop)
    except _Ruined as ruined:
        found = _replay(folder, loaded, chosen, ruined.step, display, stop)
        found.record["not_finite"] = f"loss and gradients are finite, but after the update {some(ruined.broken)} is not"
        return found


def _stage(folder: RunFolder, loaded: Loaded, name: str | None) -> Stage:
    names = [stage.name for stage in loaded.recipe.stages]
    if loaded.recipe.times > 1:
        what = "seeds" if loaded.recipe.folds is None else "folds"
        one = f"seed-{loaded.recipe.seed}" if loaded.recipe.folds is None else "fold-1"
        raise InputError(f"{folder.path} holds several {what}: name one, {folder.path}/repeats/{one}")
    if name is not None and name not in names:
        raise InputError(f'{folder.path} has no stage called "{name}"; {did_you_mean(name, names)}')
    result = folder.result
    if name is None and result.get("status") == "failed":
        name = next((one for one in result.get("wanted", names) if one not in result["stages"]), None)
    if name is None and len(names) > 1:
        raise InputError(f"{folder.path} has the stages {', '.join(names)}: say which one you mean with --stage")
    chosen = loaded.recipe.stage(name or names[0])
    if not chosen.trains:
        raise InputError(f'the stage "{chosen.name}" only edits a model: it has no steps')
    return chosen


def _replay(
    folder: RunFolder, loaded: Loaded, stage: Stage, step: int | None, display: Display, stop: StopSignal
) -> Replayed:
    with (
        tempfile.TemporaryDirectory(prefix="transferkit-replay-") as scratch,
        opened(plan_stage(loaded, stage.name, folder, RunFolder(Path(scratch)), display=display, stop=stop)) as session,
    ):
        last = session.total_steps - 1
        if step is not None and not 0 <= step <= last:
            raise InputError(f"stage {stage.name} has the steps 0 to {last}, so there is no step {step}")
        origin = _restore(session, folder.stage(stage.name) / "checkpoints", step, display)
        reached = _train_up_to(session, step)
        if reached is None:
            raise InputError(
                f"stage {stage.name} ends after {session.state.step} steps"
                + ("" if step is not None else f", and from {origin} on every number is finite; name a --step")
            )
        exact = {name: gradient.clone() for name, gradient in gradients(session).items()}
        found = examine(session, reached.batches)
        record = _record(session, reached, found, exact) | {"from": origin}
        return Replayed(record, list(reached.losses), exact, found.given, session.model.preprocessing)


def _restore(session: Trainer, checkpoints: Path, step: int | None, display: Display) -> str:
    """Go to the nearest checkpoint, or stay where the stage starts; what that is called."""
    try:
        nearest = Checkpoints(checkpoints, warn=display.warn).newest(step)
    except InputError as error:  # all are damaged
        display.warn(str(error))
        nearest = None
    try:
        if nearest is not None:
            restore(session, nearest)
            return nearest.name
    except FileNotFoundError as error:
        raise InputError(f"the run has just removed the checkpoint that was being read ({error}); try again") from error
    return "the start of the stage"


def _train_up_to(session: Trainer, step: int | None) -> _Reached | None:
    """Train until the step is there, without one until a number is not finite; None when the stage ends before."""
    check, end_step = session.check, session.end_step

    def checked(losses: Sequence[Losses], batches: Sequence[Batch], size: Tensor) -> None:
        if session.state.step == step:
            raise _Reached(losses, batches)
        try:
            check(losses, batches, size)
        except NonFiniteError:
            if step is None:
                raise _Reached(losses, batches) from None
            at = f"step {session.state.step} is not finite"
            sentence = f"stage {session.stage.name} does not come to step {step}: {at}; replay that one"
            raise InputError(sentence) from None

    def ended(losses: Sequence[Losses], batches: Sequence[Batch]) -> None:
        end_step(losses, batches)
        if step is None and (broken := broken_state(session)):
            raise _Ruined(session.state.step - 1, broken)

    session.check, session.end_step = checked, ended  # type: ignore[method-assign]
    session.save = lambda *, always=False: None  # type: ignore[method-assign]
    try:
        train(session)
    except _Reached as reached:
        return reached
    return None


def _record(session: Trainer, reached: _Reached, found: Examination, exact: dict[str, Tensor]) -> dict[str, Any]:
    lr, lr_head = learning_rates(session.optimizer)
    diagnosis = diagnose(session, reached.losses, found)
    streams = session.loader.streams
    ids = {stream: samples.ids for stream, samples in streams.items()}

    def named(stream: str, label: float) -> str | float:
        return streams[stream].classes[label] if isinstance(label, int) else label

    return {
        "stage": session.stage.name,
        "step": session.state.step,
        "epoch": session.state.epoch,
        "lr": lr,
        "lr_head": lr_head,
        "loss": math.fsum(float(losses.total.detach()) for losses in reached.losses),
        "parts": [
            {
                "name": part.name,
                "raw": part.raw,
                "weighted": part.weighted,
                "norm": math.hypot(*part.norms.values()),
                "not_finite": part.broken,
            }
            for part in found.parts
        ],
        "layers": {
            layer: {"norm": norm} | {part.name: part.norms.get(layer, 0.0) for part in found.parts}
            for layer, norm in norms_by_layer(exact).items()
        },
        "not_finite": diagnosis.sentence() if diagnosis.what else None,
        "images": [
            {"stream": stream, "id": ids[stream][index], "label": named(stream, label)}
            for batch in reached.batches
            for stream, labels in batch.labels.items()
            for index, label in zip(batch.indices[stream].tolist(), labels.tolist(), strict=True)
        ],
    }
