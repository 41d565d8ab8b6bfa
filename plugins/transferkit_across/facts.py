"""How a model was trained, as far as its run says: architecture, images, steps, epochs, seed, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.analysis.comparison import flatten
from transferkit.analysis.run_folder import RunFolder, is_run, read_run
from transferkit.errors import InputError
from transferkit.model_place import model_place

LENGTH = ("fraction", "epochs", "steps", "dataset", "evaluate", "evaluate_every", "workers")
LENGTH_GROUPS = ("schedule", "checkpoints", "early_stopping", "data")
ELSEWHERE = ("stage", "source", "baseline", "every")  # an analysis' keys that say what it looks at, not how


@dataclass(frozen=True)
class Facts:
    """What is recorded of one trained model; None where nothing is."""

    architecture: str | None = None
    images: int | None = None
    steps: int | None = None
    epochs: int | None = None
    planned: str | None = None
    """Whether the recipe gives the length in "epochs" or in "steps"."""
    kept_epoch: int | None = None
    """The epoch, counted from 1, whose weights were kept and analysed."""
    top1: float | None = None
    """On the target's validation images, of the weights that were kept."""
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything the training depended on but the seed: {dotted key: value}."""

    @property
    def family(self) -> str:
        """The settings without those of size and length: models of one family can be points of one line."""
        return json.dumps({key: value for key, value in self.settings.items() if not _is_length(key)}, default=str)

    @property
    def recipe(self) -> str:
        """The settings as one text: models that share it differ by their seed only."""
        return json.dumps(self.settings, sort_keys=True, default=str)


def _is_length(key: str) -> bool:
    top, _, rest = key.partition(".")
    return top in LENGTH or (top in LENGTH_GROUPS and bool(rest)) or key in LENGTH_GROUPS


def facts_of(run: RunFolder, stage: str | None) -> Facts:
    """Of a run's stage; of an audit, those of the run its target came from, as far as that is still there."""
    if stage is None:
        return _of_audit(run)
    entry, recipe = run.stages.get(stage) or {}, run.stage_recipe(stage)
    images, best, last = entry.get("images"), entry.get("best") or {}, entry.get("last") or {}
    planned = next((unit for unit in ("epochs", "steps") if recipe.get(unit) is not None), None)
    seed = run.result.get("seed", run.recipe.get("seed"))
    return Facts(
        architecture=_architecture(run, stage),
        images=_whole(images.get("train") if isinstance(images, Mapping) else None),
        steps=_whole(entry.get("steps")),
        epochs=_whole(last["epoch"] + 1) if isinstance(last.get("epoch"), int | float) else None,
        planned=planned,
        kept_epoch=_whole(best["epoch"] + 1) if isinstance(best.get("epoch"), int | float) else None,
        top1=best.get("top1") if best.get("split", "val") == "val" else None,
        seed=_whole(seed),
        settings=_settings(run, stage) | {"classes": entry.get("classes")},
    )


def _of_audit(run: RunFolder) -> Facts:
    target = (run.audit.get("models") or {}).get("target")
    target = target if isinstance(target, Mapping) else {"given": target}
    try:
        place = model_place(str(target.get("given")))
        if place.run is not None and place.stage is not None and is_run(place.run):
            return facts_of(read_run(place.run), place.stage)
    except (InputError, OSError):
        pass  # the model may be anywhere by now; its architecture was recorded
    return Facts(architecture=target.get("architecture"), settings={"audit": str(run.path)})


def _architecture(run: RunFolder, stage: str) -> str | None:
    """As the model folder has it, which knows what a stage inherits; else as the recipe has it."""
    path = run.path / "stages" / stage / "model" / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("architecture")
    except (OSError, ValueError, AttributeError):
        found = None
    return str(found) if found else run.model_name(stage) or None


def _settings(run: RunFolder, stage: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The stage's own settings, its model's and data set's, and those of the stage it starts from."""
    recipe = {key: value for key, value in run.stage_recipe(stage).items() if key not in ("name", "model")}
    model = run.stage_recipe(stage).get("model") or run.recipe.get("model")
    data = (run.recipe.get("datasets") or {}).get(recipe.get("dataset"))
    before, start = {}, recipe.get("start")
    if isinstance(start, str) and run.stage_recipe(start) and start not in (*seen, stage):
        recipe.pop("start")
        before = {f"start.{key}": value for key, value in _settings(run, start, (*seen, stage)).items()}
    return dict(flatten(recipe)) | dict(flatten({"model": model, "data": data})) | before


def report_settings(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The options of the analyses: numbers of other options are no repetition of the same measurement."""
    return {
        f"{plugin}.{key}": value
        for plugin, report in reports.items()
        for key, value in (report.get("parameters") or {}).items()
        if key not in ELSEWHERE
    }


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def folder_of(path: Path) -> str:
    """The last part of a folder's absolute path."""
    return path.resolve().name
