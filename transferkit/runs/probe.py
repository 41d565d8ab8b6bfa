"""A few real steps of a stage in a temporary folder: does it run here, how fast, with how much memory?"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from transferkit.data.batches import Batch
from transferkit.recipe import Loaded
from transferkit.runs.folder import RunFolder
from transferkit.runs.runner import plan_stage
from transferkit.system.signals import watching
from transferkit.training.loop import train
from transferkit.training.objective import Losses
from transferkit.training.prepare import opened
from transferkit.training.progress import Display
from transferkit.training.trainer import Trainer

STEPS = 3


def one_step(loaded: Loaded, name: str) -> dict[str, Any]:
    """Train a stage for three steps and throw the result away.

    Returns `seconds` per step after the first, with data loading, `images_per_second`, `peak_memory_mb`, `loss`, how
    many `parameters` there are, train and were added by adapters, and the model's `preprocessing`.
    """
    with watching() as stop, tempfile.TemporaryDirectory(prefix="transferkit-probe-") as place:
        folder = RunFolder(Path(place))
        plan = plan_stage(loaded, name, folder, folder, display=Display(quiet=True), stop=stop)
        plan.stage = plan.stage.model_copy(update={"steps": STEPS, "epochs": None})
        with opened(plan) as session:
            session.validation, session.others = None, {}
            began = _times_of_steps(session)
            train(session)
        record = json.loads((folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    seconds = max((began[-1] - began[0]) / max(len(began) - 1, 1), 1e-9)
    return {
        "seconds": seconds,
        "images_per_second": session.stage.batch_size * session.stage.accumulate / seconds,
        "peak_memory_mb": _peak_memory(session.device),
        "loss": record["loss"],
        "parameters": session.parameter_counts(),
        "preprocessing": session.model.preprocessing.to_json(),
    }


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
