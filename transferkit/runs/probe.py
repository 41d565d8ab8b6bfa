"""A few real steps of a stage in a temporary folder: does it run here, how fast, with how much memory?"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from transferkit.data.batches import Batch
from transferkit.model.folder import save_model
from transferkit.recipe import Loaded
from transferkit.runs.fitting import train_as_it_fits
from transferkit.runs.folder import RunFolder
from transferkit.runs.planning import PassSize, plan_stage
from transferkit.system.signals import StopSignal, watching
from transferkit.training.loop import train
from transferkit.training.objective import Losses
from transferkit.training.prepare import opened
from transferkit.training.progress import Display
from transferkit.training.stage_plan import StagePlan
from transferkit.training.trainer import Trainer

STEPS = 3


class Probe:
    """Stages of a recipe, each tried for a few steps in one temporary folder, so that later ones find their start."""

    def __init__(self, loaded: Loaded, folder: Path) -> None:
        self.loaded, self.folder = loaded, RunFolder(folder)

    @classmethod
    @contextmanager
    def opened(cls, loaded: Loaded) -> Iterator[Probe]:
        """The results are thrown away in the end."""
        with tempfile.TemporaryDirectory(prefix="transferkit-probe-") as place:
            yield cls(loaded, Path(place))

    def few_steps(self, name: str, *, keep: bool = False) -> dict[str, Any]:
        """Train a stage for three steps; with `keep` its model is written, for others to start from.

        Returns `seconds` per step after the first, with data loading, `images_per_second`, `peak_memory_mb` (of the
        process so far), `loss`, how many `parameters` there are, train and were added by adapters, and the model's
        `preprocessing`.
        """
        with watching() as stop:
            display = Display(quiet=True)
            planned = partial(self._planned, name, display, stop)
            done: list[tuple[Trainer, list[float]]] = []
            plan = train_as_it_fits(planned(), partial(self._train, name, keep, done), planned)
            lines = (self.folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        (session, began), stage = done[-1], plan.stage
        seconds = max((began[-1] - began[0]) / max(len(began) - 1, 1), 1e-9)
        return {
            "seconds": seconds,
            "images_per_second": stage.batch_size * stage.accumulate / seconds,
            "peak_memory_mb": _peak_memory(session.device),
            "loss": next(one["loss"] for one in map(json.loads, lines) if one["stage"] == name),
            "parameters": session.parameter_counts(),
            "preprocessing": session.model.preprocessing.to_json(),
        } | ({"batch": {"batch_size": stage.batch_size, "accumulate": stage.accumulate}} if stage.auto_batch else {})

    def _planned(self, name: str, display: Display, stop: StopSignal, batch: PassSize | None = None) -> StagePlan:
        plan = plan_stage(self.loaded, name, self.folder, self.folder, display=display, stop=stop, batch=batch)
        plan.stage = plan.stage.model_copy(update={"steps": STEPS, "epochs": None})
        return plan

    def _train(self, name: str, keep: bool, done: list[tuple[Trainer, list[float]]], plan: StagePlan) -> None:
        with opened(plan) as session:
            session.validation, session.others = None, {}
            began = _times_of_steps(session)
            train(session)
            if keep:
                save_model(self.folder.model(name), session.best_model(), session.source_head)
        done.append((session, began))

    def take(self, name: str, model: Path) -> None:
        """Let a stage that is not tried have the model of another, or of what it starts from."""
        shutil.copytree(model, self.folder.model(name), dirs_exist_ok=True)


def _times_of_steps(session: Trainer) -> list[float]:
    """When each step ended: the first one also starts workers and libraries, which a run does once."""
    times: list[float] = []
    whole = session.end_step

    def end_step(losses: Sequence[Losses], batches: Sequence[Batch]) -> None:
        whole(losses, batches)
        times.append(time.perf_counter())

    session.end_step = end_step  # type: ignore[method-assign]
    return times


def _peak_memory(device: torch.device) -> float:
    """Megabytes: of the GPU where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
