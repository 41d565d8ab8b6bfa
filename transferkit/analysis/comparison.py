"""Runs side by side: what differs between their recipes, what they reached, and means over seeds.

Reads result.json, metrics.jsonl, recipe.yaml and the analyses' report.json of each run and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.analysis.measured import STAGE_METRICS, Measured, measured, stage_values
from transferkit.analysis.run_folder import RunFolder, is_run, read_run, sample_sd
from transferkit.errors import InputError
from transferkit.names import plain_name
from transferkit.suggest import did_you_mean

NAMED_LISTS = {"stages", "regularizers", "corruptions", "observers", "analyses"}
NEVER_DIFFER = ("description", "recipe_version")
SEEDS = ("seed", "repeat")
ABSENT = None


@dataclass(frozen=True)
class Row:
    """One run of the comparison."""

    run: RunFolder
    label: str
    settings: Mapping[str, Any]
    best: float | None
    last: float | None
    epoch: float | None
    seconds: float | None
    values: Mapping[int, float]
    """{seed: best value}: one entry, or one per repeat."""


@dataclass(frozen=True)
class Group:
    """The runs that differ in nothing but the seed."""

    settings: Mapping[str, Any]
    values: Mapping[int, float]
    mean: float | None
    sd: float | None
    difference: Difference | None = None


@dataclass(frozen=True)
class Difference:
    """The mean over shared seeds of this group's value minus the first group's."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Comparison:
    """Everything that `transferkit compare` prints."""

    stage: str
    metric: str
    keys: list[str]
    rows: list[Row]
    groups: list[Group] = field(default_factory=list)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Run folders as given; a folder of runs becomes the runs inside it, oldest name first.

    Raises InputError for a folder that is no run and holds none.
    """
    found: list[Path] = []
    for path in paths:
        inner = [] if is_run(path) or not path.is_dir() else sorted(p for p in path.iterdir() if is_run(p))
        found += inner or [path]
    return list(dict.fromkeys(found))


def compare_runs(paths: Sequence[Path], *, stage: str | None = None, metric: str | None = None) -> Comparison:
    """Compare the runs in one stage by one metric: by top1, or by loss where no run has a top1, as in regression.

    `analyses.NAME.METRIC` is what an analysis found: its `best` is that number, and it has no last epoch.
    Raises InputError for folders that are no runs, and for metrics that none of them has.
    """
    runs = [read_run(path) for path in expand(paths)]
    chosen = choose_stage(runs, stage)
    metric = metric or _usual_metric(runs, chosen)
    found = measured(runs, metric) if metric not in STAGE_METRICS else {}
    recipes = [dict(flatten(run.recipe)) for run in runs]
    keys = differing(recipes)
    columns = [collapse(keys, recipes, recipe) for recipe in recipes]
    shown = list(dict.fromkeys(key for column in columns for key in column))
    rows = [
        _row(run, label, {key: column.get(key, ABSENT) for key in shown}, chosen, metric, found.get(run.path))
        for run, label, column in zip(runs, labels(runs), columns, strict=True)
    ]
    return Comparison(chosen, metric, shown, rows, group(rows))


def _usual_metric(runs: Sequence[RunFolder], stage: str) -> str:
    best = [run.stages[stage].get("best") or {} for run in runs]
    only_loss = all(one.get("top1") is None for one in best) and any(one.get("loss") is not None for one in best)
    return "loss" if only_loss else "top1"


def choose_stage(runs: Sequence[RunFolder], wanted: str | None) -> str:
    """The stage to compare: the wanted one, else the last that all runs have."""
    common = [name for name in runs[0].stages if all(name in run.stages for run in runs)]
    if wanted is None:
        if not common:
            raise InputError("these runs have no stage in common, so there is nothing to compare")
        return common[-1]
    if wanted not in common:
        missing = [str(run.path) for run in runs if wanted not in run.stages]
        raise InputError(f'no stage "{wanted}" in {missing[0]}; {did_you_mean(wanted, common) or "it has none"}')
    return wanted


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A recipe as (dotted key, plain value); list items go by name: `stages.target.regularizers.bss.k`."""
    key = prefix.rpartition(".")[2]
    if isinstance(value, list) and key in NAMED_LISTS and all(isinstance(item, Mapping) for item in value):
        value = {str(item.get("name") or plain_name(str(item.get("use") or i))): item for i, item in enumerate(value)}
    if isinstance(value, Mapping) and (value or key in NAMED_LISTS):
        for name, inner in value.items():
            yield from flatten(inner, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def differing(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values are not the same everywhere, in the order in which the recipes have them."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe if key not in NEVER_DIFFER)
    return [key for key in keys if any(recipe.get(key, ABSENT) != recipes[0].get(key, ABSENT) for recipe in recipes)]


def collapse(keys: Sequence[str], recipes: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's values of the differing keys, with a plugin that some recipes lack as one key: its weight.

    Further options of such a plugin are kept only where the recipes that have it disagree.
    """
    result: dict[str, Any] = {}
    for key in keys:
        owner = _plugin_of(key, recipes)
        users = [other for other in recipes if owner and f"{owner}.use" in other]
        if not owner or len(users) == len(recipes):
            result[key] = recipe.get(key, ABSENT)
            continue
        if f"{owner}.use" in recipe:
            result.setdefault(owner, _presence(recipe, owner))
        else:
            result.setdefault(owner, ABSENT)
        weight = key.startswith(f"{owner}.weight")
        if not weight and any(other.get(key, ABSENT) != users[0].get(key, ABSENT) for other in users):
            result[key] = recipe.get(key, ABSENT)
    return result


def _plugin_of(key: str, recipes: Sequence[Mapping[str, Any]]) -> str:
    """The dotted prefix that is a plugin in some recipe, or an empty string."""
    parts = key.split(".")
    for end in range(len(parts) - 1, 0, -1):
        prefix = ".".join(parts[:end])
        if any(f"{prefix}.use" in recipe for recipe in recipes):
            return prefix
    return ""


def _presence(recipe: Mapping[str, Any], plugin: str) -> Any:
    """What stands for a plugin: its weight, {term: weight} as text, or True."""
    if f"{plugin}.weight" in recipe:
        return recipe[f"{plugin}.weight"]
    terms = {
        key.removeprefix(f"{plugin}.weight."): value
        for key, value in recipe.items()
        if key.startswith(f"{plugin}.weight.")
    }
    return " ".join(f"{term}={value}" for term, value in terms.items()) or True


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """{key: the shortest dotted ending that no other key shares}."""
    names = {}
    for key in keys:
        parts = key.split(".")
        endings = (".".join(parts[-n:]) for n in range(1, len(parts) + 1))
        names[key] = next(
            (end for end in endings if not any(other != key and f".{other}".endswith(f".{end}") for other in keys)),
            key,
        )
    return names


def labels(runs: Sequence[RunFolder]) -> list[str]:
    """The folder names of the runs, with parents as far as needed to tell them apart."""
    parts = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(path) for path in parts]


def _row(
    run: RunFolder, label: str, settings: Mapping[str, Any], stage: str, metric: str, found: Measured | None
) -> Row:
    if found is not None:
        return Row(run, label, settings, found.mean, None, None, run.seconds(stage), found.values)
    entry = run.stages[stage]
    best, last = entry.get("best") or {}, entry.get("last") or {}
    values = stage_values(run, stage, metric)
    return Row(run, label, settings, best.get(metric), last.get(metric), best.get("epoch"), run.seconds(stage), values)


def group(rows: Sequence[Row]) -> list[Group]:
    """The rows by settings without seeds, with differences to the first; nothing if no seeds repeat."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(repr({key: row.settings[key] for key in row.settings if key not in SEEDS}), []).append(row)
    groups = [_group(found) for found in members.values()]
    if not any(len(one.values) > 1 for one in groups):
        return []
    first = groups[0]
    return [first, *(Group(g.settings, g.values, g.mean, g.sd, paired(g, first)) for g in groups[1:])]


def _group(rows: Sequence[Row]) -> Group:
    """One group; of several runs with one seed the last counts."""
    values = {seed: value for row in rows for seed, value in row.values.items()}
    settings = {key: value for key, value in rows[0].settings.items() if key not in SEEDS}
    mean = math.fsum(values.values()) / len(values) if values else None
    return Group(settings, values, mean, sample_sd(list(values.values())))


def paired(one: Group, first: Group) -> Difference | None:
    """The difference over the seeds that both groups have."""
    seeds = [seed for seed in one.values if seed in first.values]
    if not seeds:
        return None
    differences = [one.values[seed] - first.values[seed] for seed in seeds]
    return Difference(math.fsum(differences) / len(differences), sample_sd(differences), len(differences))
