"""What repeated runs come to: mean, standard deviation and interval over seeds, of stages and of analyses.

Nothing here is about images: an interval over seeds says what other seeds would give on these same images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transferkit.errors import InputError
from transferkit.report import Metric
from transferkit.runs import seed_or_fold
from transferkit.runs.record import declared_by, of
from transferkit.statistics import mean_over_seeds, sample_sd
from transferkit.system.atomic import read_json
from transferkit.words.formats import BOUNDS, named

Result = Mapping[str, Any]


@dataclass(frozen=True)
class OverSeeds:
    """A number over `n` seeds. `sd` and the ends of the interval of the mean are None below two of them."""

    mean: float | None
    sd: float | None
    n: int
    low: float | None
    high: float | None


def over_seeds(values: Iterable[float | None], unit: str = "number") -> OverSeeds:
    """Mean, sample standard deviation and Student's 95 % interval of the mean, as result.json has them.

    None, NaN and infinities are left out; `n` counts the others. The interval ends where numbers of that `unit` do:
    seeds that all have about 99 % give no mean above 100 % (`Estimate.within`).
    """
    measured = [value for value in values if value is not None and math.isfinite(value)]
    found = mean_over_seeds(measured).within(*BOUNDS.get(unit, ()))
    mean, sd, low, high = (
        None if math.isnan(number) else number for number in (found.value, sample_sd(measured), found.low, found.high)
    )
    return OverSeeds(mean, sd, found.n, low, high)


def summarise(folder: Path, repeats: Sequence[Result]) -> dict[str, Any]:
    """The result of a repeated run from those of its seeds so far, in the shape of a single run's result.

    `folder` is the repeated run's. Besides means of stages, `metrics` has those of every analysis.
    """
    stages = {name: _stage(name, folder, repeats) for name in (repeats[0]["stages"] if repeats else ())}
    kept = [{key: repeat[key] for key in ("run_dir", "seed", "fold", "stages") if key in repeat} for repeat in repeats]
    return {
        "status": "running",
        "run_dir": str(folder),
        "stages": stages,
        "analyses": {},
        "metrics": _metrics(repeats),
        "repeats": kept,
    }


def _warnings(by_seed: Sequence[Sequence[str]], seeds_or_folds: str = "seeds") -> list[str]:
    """Every warning once, as the first seed has it: those of other seeds may differ in their numbers."""
    first: dict[str, str] = {}
    seeds: dict[str, int] = {}
    for warnings in by_seed:
        alike = {re.sub(r"\d+(\.\d+)?", "#", text): text for text in warnings}
        for pattern, text in alike.items():
            first.setdefault(pattern, text)
            seeds[pattern] = seeds.get(pattern, 0) + 1
    return sorted(
        f"{first[pattern]} (in {count} of {len(by_seed)} {seeds_or_folds})" for pattern, count in seeds.items()
    )


def _stage(name: str, folder: Path, repeats: Sequence[Result]) -> dict[str, Any]:
    entries = [repeat["stages"][name] for repeat in repeats if name in repeat["stages"]]
    return {
        "kept": entries[0].get("kept", "best"),
        "best": _epoch([entry["best"] for entry in entries]),
        "last": _epoch([entry["last"] for entry in entries]),
        "model": f"{Path(repeats[0]['run_dir']).relative_to(folder).as_posix()}/{entries[0]['model']}",
        "classes": entries[0]["classes"],
        "images": entries[0]["images"],
        "images_seen": entries[0].get("images_seen", {}),
        "seconds": sum(entry["seconds"] for entry in entries),
        "warnings": _warnings([entry["warnings"] for entry in entries], f"{seed_or_fold.word(repeats)}s"),
        "evaluations": _evaluations(entries),
    }


def _epoch(entries: Sequence[Result | None]) -> dict[str, Any]:
    """The best or last epochs of all seeds."""
    found = [entry or {} for entry in entries]
    mean, spread = _means(found, ("epoch", "top1", "loss", "selected"))
    if "selected" in mean:
        mean["select"] = found[0]["select"]
    absent = dict.fromkeys({"top1", "loss"} - set(mean))  # a regression has no top-1
    spread.pop("epoch", None)
    return absent | mean | {"sd": absent | spread, "n": len(found), "split": found[0].get("split")}


def _evaluations(entries: Sequence[Result]) -> dict[str, Any]:
    """{split or data set: means of its numbers}, of the finished models of all seeds."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for entry in entries for name in entry.get("evaluations") or {}):
        ones = [entry["evaluations"][name] for entry in entries if name in (entry.get("evaluations") or {})]
        mean, spread = _means(ones, ("top1", "loss", "top5", "r2"))
        of_plugins = [named(one.get("metrics") or {}) for one in ones]
        metrics, of_metrics = _means(of_plugins, of_plugins[0])
        mean |= {"metrics": {key: {key: value} for key, value in metrics.items()}} if metrics else {}
        found[name] = mean | {"sd": spread | of_metrics, "n": len(ones), "images": ones[0].get("images")}
    return found


def _means(entries: Sequence[Result], keys: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Means and standard deviations of what every entry has: of what one of them lacks there is no mean."""
    values = {key: [entry.get(key) for entry in entries] for key in keys}
    found = {key: over_seeds(given) for key, given in values.items()}
    whole = {key: one for key, one in found.items() if one.n == len(entries)}
    return {key: one.mean for key, one in whole.items()}, {key: one.sd for key, one in whole.items()}


def _metrics(repeats: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """{analysis: {metric: mean, sd, n, low, high and the values by seed}}; None is what a seed did not measure."""
    read = {seed_or_fold.number(repeat): _read(repeat) for repeat in repeats}
    found: dict[str, dict[str, Any]] = {}
    for analysis in dict.fromkeys(name for one in read.values() for name in one):
        by_seed = {seed: one[analysis] for seed, one in read.items() if analysis in one}
        metrics = dict.fromkeys(metric for _, one in by_seed.values() for metric in one)
        values = {metric: {seed: one.get(metric) for seed, (_, one) in by_seed.items()} for metric in metrics}
        known = declared_by(next(iter(by_seed.values()))[0])
        found[analysis] = {
            metric: asdict(over_seeds(of_seeds.values(), _unit(known, metric))) | {"values": of_seeds}
            for metric, of_seeds in values.items()
        }
    return found


def _unit(known: Mapping[str, Metric], key: str) -> str:
    """The unit of a metric, or of the end of its interval."""
    return next((metric.unit for metric in known.values() if key in metric.keys), of(known, key).unit)


def _read(repeat: Result) -> dict[str, tuple[str, dict[str, float | None]]]:
    """{analysis: (its plugin, its metrics)} of one seed, from the reports that it wrote."""
    found = {}
    for name, path in repeat["analyses"].items():
        try:
            report: dict[str, Any] = read_json(Path(repeat["run_dir"]) / path)
        except InputError:
            continue
        metrics = report.get("metrics")
        if isinstance(metrics, dict):
            numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float | None)}
            found[name] = str(report.get("plugin")), numbers
    return found
