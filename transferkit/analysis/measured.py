"""What runs measured, by seed: stages by `top1` and `loss`, analyses by `analyses.NAME.METRIC`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.analysis.run_folder import RunFolder, read_report
from transferkit.errors import InputError
from transferkit.suggest import did_you_mean

STAGE_METRICS = ("top1", "loss")
PREFIX = "analyses."


@dataclass(frozen=True)
class Measured:
    """One metric of one run: its mean over seeds, and the values of the seeds that measured it."""

    mean: float | None = None
    values: Mapping[int, float] = field(default_factory=dict)


def measured(runs: Sequence[RunFolder], metric: str) -> dict[Path, Measured]:
    """{run folder: what it measured}. Raises InputError, with what there is, for a metric that no run has."""
    known = [_metrics(run) for run in runs]
    if not any(metric in metrics for metrics in known):
        names = dict.fromkeys([*STAGE_METRICS, *(name for metrics in known for name in metrics)])
        hint = did_you_mean(metric, names)
        raise InputError(f'--metric: no run has a metric called "{metric}"; {hint}')
    return {run.path: metrics.get(metric, Measured()) for run, metrics in zip(runs, known, strict=True)}


def stage_values(run: RunFolder, stage: str, metric: str) -> dict[int, float]:
    """{seed: best value} of a stage, of the repeats or of the run itself."""
    sources = [
        (i if one.get("seed") is None else one["seed"], one.get("stages") or {}) for i, one in enumerate(run.repeats)
    ]
    if not sources:
        sources = [(_seed(run), run.stages)]
    return _by_seed({seed: ((stages.get(stage) or {}).get("best") or {}).get(metric) for seed, stages in sources})


def _metrics(run: RunFolder) -> dict[str, Measured]:
    """Everything that the run's analyses measured, by full name."""
    if run.repeats:
        return {
            f"{PREFIX}{name}.{metric}": Measured(one.get("mean"), _by_seed(one.get("values") or {}))
            for name, metrics in (run.result.get("metrics") or {}).items()
            for metric, one in (metrics or {}).items()
            if one is not None
        }
    return {
        f"{PREFIX}{name}.{metric}": Measured(value, _by_seed({_seed(run): value}))
        for name, path in (run.result.get("analyses") or {}).items()
        for metric, value in (read_report(run.path / str(path), run.problems).get("metrics") or {}).items()
    }


def _seed(run: RunFolder) -> int:
    return int(run.recipe.get("seed") or 0)


def _by_seed(values: Mapping[Any, float | None]) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in values.items() if value is not None}
