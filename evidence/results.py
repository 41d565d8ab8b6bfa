"""Stored results: every number of every seed of a run, with where it came from, as one JSON file."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transferkit.statistics import Estimate, difference_over_seeds, mean_over_seeds

Values = dict[str, float | None]
"""{seed: value}; None is what that seed could not measure."""


def stored(result: Mapping[str, Any], asked: str) -> dict[str, Any]:
    """What is kept of a run: `result` is its result.json. Paths of the machine are not among it."""
    folder = Path(result["run_dir"])
    environment = json.loads((folder / "env.json").read_text(encoding="utf-8"))
    seconds = sum(stage["seconds"] for stage in result["stages"].values())
    return {
        "command": asked,
        "versions": environment["packages"],
        "python": environment["python"],
        "machine": {"system": platform.system(), "processor": platform.machine(), "device": environment["device"]},
        "seeds": [one["seed"] for one in _seeds(result)],
        "training_seconds": round(seconds, 1),
        "numbers": numbers(result),
    }


def numbers(result: Mapping[str, Any]) -> dict[str, Values]:
    """{key: {seed: value}} of all stages and analyses."""
    found: dict[str, Values] = {}
    for one in _seeds(result):
        for key, value in [*_of_stages(one), *_of_analyses(one)]:
            found.setdefault(key, {})[str(one["seed"])] = value
    return dict(sorted(found.items()))


def _seeds(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The results of single seeds."""
    repeats = result.get("repeats")
    if not repeats:
        return [result]
    return [json.loads((Path(one["run_dir"]) / "result.json").read_text(encoding="utf-8")) for one in repeats]


def _of_stages(one: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for name, stage in one["stages"].items():
        kept = stage[stage.get("kept", "best")] or {}
        for metric in ("top1", "loss"):
            if kept.get(metric) is not None:
                yield f"stages/{name}/{kept.get('split', 'val')}/{metric}", _plain(kept[metric])
        for split, values in (stage.get("evaluations") or {}).items():
            for metric in ("top1", "loss", "r2"):
                if values.get(metric) is not None:
                    yield f"stages/{name}/{split}/{metric}", _plain(values[metric])


def _of_analyses(one: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for name, path in one["analyses"].items():
        report = json.loads((Path(one["run_dir"]) / path).read_text(encoding="utf-8"))
        for metric, value in report["metrics"].items():
            yield f"{name}/{metric}", _plain(value)


def _plain(value: float | None) -> float | None:
    """Seven digits are more than seeds agree in."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.7g}")


def estimate(stored_numbers: Mapping[str, Values], key: str, minus: str | None = None, unit: str = "") -> Estimate:
    """The mean over seeds of one key, or of the difference of two by seed, with Student's 95 % interval.

    A single seed has the interval that its analysis gave (`KEY_low`, `KEY_high`), where it gave one. Correlations are
    averaged after Fisher's transformation, so that no end lies beyond 1; intervals of shares end at 0 and 1.
    """
    values = stored_numbers[key]
    if minus is not None:
        other = stored_numbers[minus]
        both = [seed for seed in values if values[seed] is not None and other.get(seed) is not None]
        return difference_over_seeds([values[s] for s in both], [other[s] for s in both], paired=True)
    measured = [value for value in values.values() if value is not None]
    if len(measured) == 1 and f"{key}_low" in stored_numbers:
        low, high = (next(iter(stored_numbers[f"{key}_{end}"].values())) for end in ("low", "high"))
        return Estimate(measured[0], math.nan if low is None else low, math.nan if high is None else high, 1)
    if unit == "correlation":
        found = mean_over_seeds([math.atanh(value) for value in measured])
        return Estimate(math.tanh(found.value), math.tanh(found.low), math.tanh(found.high), found.n)
    found = mean_over_seeds(measured)
    return found.within(0, 1) if unit == "share" else found
