"""Trackers: where curves are shown besides the run folder. Each is Accelerate's; one that fails costs itself alone."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from transferkit.errors import InputError
from transferkit.report import json_text
from transferkit.system.atomic import read_json, write_text

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from transferkit.training.stage_plan import StagePlan

IDS = "trackers.json"
NAMES = {"tensorboard": "TensorBoard", "wandb": "W&B", "mlflow": "MLflow", "trackio": "Trackio"}
NOT_MLFLOW = re.compile(r"[^\w\-. :/]")
Warn = Callable[[str], None]


def open_trackers(plan: StagePlan) -> list[GeneralTracker]:
    """Those of the recipe for a stage that is tracked, each in the run of its own that it went on in before, if it did.

    One that cannot be opened is left out with a warning.
    """
    if plan.board is None:
        return []
    run, found = plan.out.parent.parent, list[Any]()
    ids = _known(run).get(plan.stage.name, {})
    before = dict(ids)
    for name in plan.recipe.trackers:
        try:
            tracker = _made(name, plan, run, ids)
            tracker.start()
            if name == "mlflow":
                ids[name] = tracker.tracker.info.run_id
            if name != "tensorboard" and name not in before:
                tracker.store_init_configuration(configuration(plan))
        except Exception as error:  # whatever a library of others raises: no network, no account, no disk
            plan.display.warn(f"{NAMES.get(name, name)} gets nothing of stage {plan.stage.name}: {_first(error)}")
        else:
            found.append(tracker)
    if ids != before:
        write_text(run / IDS, json_text({**_known(run), plan.stage.name: ids}) + "\n")
    return found


def _made(name: str, plan: StagePlan, run: Path, ids: dict[str, str]) -> Any:
    """Accelerate's tracker with the names that a person looks for: the recipe's, then the run's and stage's."""
    made, project = LOGGER_TYPE_TO_CLASS[name], plan.recipe.name
    title = f"{run_title(run)}/{plan.stage.name}"
    if name == "tensorboard":
        return made(plan.stage.name, plan.board)
    if name == "wandb":
        known = ids.setdefault(name, secrets.token_hex(8))
        return made(project, name=title, id=known, resume="allow", dir=str(run), tags=[plan.stage.name])
    if name == "mlflow":
        return made(project, run_name=title, run_id=ids.get(name))
    if name == "trackio":
        known = ids.setdefault(name, title)
        return made(project, name=known, resume="allow")
    if made.requires_logging_directory:
        return made(title, str(run))
    ids.setdefault(name, title)
    return made(project)


def run_title(run: Path) -> str:
    """`20261120-194502-9edd`; of one seed of several `20261120-194502-9edd/seed-1`."""
    return f"{run.parent.parent.name}/{run.name}" if run.parent.name == "repeats" else run.name


def configuration(plan: StagePlan) -> dict[str, Any]:
    """The resolved recipe, with every value by its dotted key: what a tracker shows and filters by."""
    found: dict[str, Any] = {"stage": plan.stage.name}

    def add(value: Any, key: str) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                add(inner, f"{key}.{name}" if key else str(name))
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            for index, inner in enumerate(value):
                add(inner, f"{key}.{inner.get('name') or inner.get('use') or index}")
        else:
            found[key] = value if isinstance(value, int | float | str) else str(value)

    add(plan.recipe.model_dump(mode="json", by_alias=True, exclude={"presets"}), "")
    return found


def send(trackers: list[Any], values: Mapping[str, float], step: int, warn: Warn) -> None:
    """Give numbers to each; one that fails gets nothing more, and is taken out of the list."""
    for tracker in list(trackers):
        try:
            tracker.log(_named(values) if tracker.name == "mlflow" else dict(values), step=step)
        except Exception as error:
            trackers.remove(tracker)
            warn(f"{NAMES.get(tracker.name, tracker.name)} gets nothing more: {_first(error)}")


def _named(values: Mapping[str, float]) -> dict[str, float]:
    return {NOT_MLFLOW.sub("_", name): value for name, value in values.items()}


def keep_artifacts(trackers: Iterable[Any], run: Path, folder: Path, warn: Warn) -> None:
    """Give the model's folder and the recipe to the trackers that keep files."""
    for tracker in trackers:
        try:
            if tracker.name == "mlflow":
                tracker.log_artifacts(str(folder), artifact_path="model")
                tracker.log_artifact(str(run / "recipe.yaml"))
            elif tracker.name == "wandb":
                import wandb

                artifact = wandb.Artifact(f"{tracker.run.id}-model", type="model")
                artifact.add_dir(str(folder), name="model")
                artifact.add_file(str(run / "recipe.yaml"))
                tracker.run.log_artifact(artifact)
        except Exception as error:
            warn(f"{NAMES[tracker.name]} did not take the model: {_first(error)}")


def keep_report(run: Path, project: str, warn: Warn) -> None:
    """Give the finished report to the tracker runs of each stage that keep files."""
    report, known = run / "report.html", _known(run)
    for stage, ids in known.items() if report.is_file() else ():
        for name in ("mlflow", "wandb"):
            if name not in ids:
                continue
            try:
                _send_report(name, ids[name], report, project)
            except Exception as error:
                warn(f"{NAMES[name]} did not take the report of stage {stage}: {_first(error)}")


def _send_report(name: str, run_id: str, report: Path, project: str) -> None:
    if name == "mlflow":
        from mlflow import MlflowClient

        MlflowClient().log_artifact(run_id, str(report))
        return
    import wandb

    with wandb.init(project=project, id=run_id, resume="allow", dir=str(report.parent)) as opened:
        artifact = wandb.Artifact(f"{run_id}-report", type="report")
        artifact.add_file(str(report))
        opened.log_artifact(artifact)


def close(trackers: Iterable[Any]) -> None:
    """End them: what waits is written. One that fails has said so before, or loses its last numbers."""
    for tracker in trackers:
        with suppress(Exception):
            tracker.finish()


def _known(run: Path) -> dict[str, dict[str, str]]:
    """{stage: {tracker: the run there}}, of an earlier attempt too."""
    with suppress(InputError):
        found: dict[str, dict[str, str]] = read_json(run / IDS)
        return found
    return {}


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
