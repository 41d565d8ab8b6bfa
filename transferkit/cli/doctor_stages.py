"""The steps that `doctor` tries: of each stage that could go another way than those before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from transferkit.cli import doctor_machine as machine
from transferkit.errors import Interrupted, TransferkitError
from transferkit.recipe.counting import images_to_train

if TYPE_CHECKING:
    from transferkit.recipe import Loaded
    from transferkit.recipe.schema import Recipe, Stage
    from transferkit.runs.probe import Probe

LONG = 180.0  # seconds after which no further stage is begun
LOW_TEMPORARY = 0.25  # GiB
ALIKE = {
    "accept", "carry_on", "checkpoints", "clip", "early_stopping", "edits", "ema", "epochs", "evaluate", "evaluate_at",
    "evaluate_every", "evaluate_images", "fraction", "keep", "metrics", "name", "observers", "optimizer", "schedule",
    "select", "start", "steps", "validation",
}  # fmt: skip
"""Keys that cost a step nothing to speak of; `optimizer` counts by its name, `start` by where classes come from."""


def try_stages(loaded: Loaded, tell: Callable[[str], None]) -> dict[str, Any]:
    """Three steps of each stage that differs from those before it in what a step does.

    Returns `steps`, {stage: what was found, or an `error`}; `as`, {stage: the one that was tried in its place};
    and `not_tried`, {stage: why}. `tell` is given what is under way.
    """
    tell("loading torch")
    from transferkit.runs.probe import Probe

    with Probe.opened(loaded) as probe:
        return _tried(loaded.recipe, probe, tell)


def _tried(recipe: Recipe, probe: Probe, tell: Callable[[str], None]) -> dict[str, Any]:
    found: dict[str, Any] = {"steps": {}, "as": {}, "not_tried": {}}
    names = {stage.name for stage in recipe.stages}
    first: dict[str, str] = {}
    ready = set[str]()  # stages whose model is in the probe's folder
    ends = time.monotonic() + LONG
    for stage in recipe.stages:
        name, alike = stage.name, first.get(kind(recipe, stage))
        if stage.start in names - ready:
            found["not_tried"][name] = f"it starts from {stage.start}"
        elif not stage.trains:
            found["not_tried"][name] = "it only edits a model"
            alike = stage.start if stage.start in ready else None
        elif alike is not None:
            found["as"][name] = alike
        elif time.monotonic() > ends:
            found["not_tried"][name] = f"those before it took more than {LONG / 60:.0f} minutes"
        else:
            tell(f"trying stage {name}")
            found["steps"][name] = attempt(probe, name, keep=len(names) > 1)
            if "error" not in found["steps"][name]:
                first[kind(recipe, stage)] = name
                ready.add(name)
        if alike is not None and name in {other.start for other in recipe.stages}:
            probe.take(name, probe.folder.model(alike))
            ready.add(name)
    return found


def kind(recipe: Recipe, stage: Stage) -> str:
    """What a step of a stage depends on, as a text; where two stages give the same one, trying one will do."""
    own = stage.model_copy(update={"model": stage.model or recipe.model})
    content = own.model_dump(mode="json", exclude=ALIKE)
    fresh = stage.start in ("pretrained", "scratch")
    return repr([content, stage.optimizer.name, stage.start if fresh else "another stage"])


def attempt(probe: Probe, name: str, *, keep: bool) -> dict[str, Any]:
    """What `Probe.few_steps` finds, or the error that it ended in."""
    try:
        return dict(probe.few_steps(name, keep=keep))
    except Interrupted:  # asked to stop: no fault of the stage
        raise
    except TransferkitError as error:
        return {"error": str(error)}
    except Exception as error:  # libraries that write files have exceptions of their own for a full disk
        place = machine.temporary()
        if not isinstance(error, OSError) and place is not None and place["free_gib"] > LOW_TEMPORARY:
            raise
        where = place["folder"] if place is not None else "of this machine"
        return {"error": f"{error}; its files go to the temporary folder {where}: free some space or set TMPDIR"}


def forecast(recipe: Recipe, tried: Mapping[str, Any]) -> dict[str, Any] | None:
    """How long the training of all stages and seeds would take at the pace of the steps that were tried.

    `assumed` names stages that were not tried and are taken to be as fast as the slowest. None where a step failed,
    or where the images cannot be counted unopened.
    """
    paces = {name: one.get("images_per_second") for name, one in tried["steps"].items()}
    if not paces or not all(paces.values()):
        return None
    seconds, images, assumed = 0.0, 0, []
    for stage in recipe.stages:
        count = images_to_train(recipe, [stage.name]) * recipe.times
        pace = paces.get(tried["as"].get(stage.name, stage.name))
        if count and pace is None:
            assumed.append(stage.name)
        seconds, images = seconds + count / (pace or min(paces.values())), images + count
    return {"images": images, "seconds": seconds, "assumed": assumed} if images else None
