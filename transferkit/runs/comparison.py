"""Runs side by side: what differs between their recipes, what they reached, and means over seeds.

Reads result.json, metrics.jsonl, recipe.yaml and the analyses' report.json of each run and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.errors import InputError
from transferkit.recipe.places import PLACES
from transferkit.report import Metric
from transferkit.runs import seed_or_fold
from transferkit.runs.over_seeds import over_seeds
from transferkit.runs.record import RunRecord, declared_in, is_run, of, read_report, read_run
from transferkit.statistics import difference_over_seeds, sample_sd
from transferkit.words.doors import option
from transferkit.words.formats import SHARES
from transferkit.words.names import plain_name
from transferkit.words.suggest import did_you_mean
from transferkit.words.tabular import Tabular

NAMED_LISTS = {"stages", *(place.key for place in PLACES if not place.single)}
NEVER_DIFFER = ("description", "recipe_version")
SEEDS = ("seed", "repeat", "fold")
STAGE_METRICS = ("top1", "loss")
PREFIX = "analyses."


@dataclass(frozen=True)
class MetricOfRun:
    """One metric of one run: its mean over seeds, and the values of the seeds that measured it."""

    mean: float | None = None
    values: Mapping[int, float] = field(default_factory=dict)


def metric_of_runs(runs: Sequence[RunRecord], metric: str) -> dict[Path, MetricOfRun]:
    """{run folder: what it measured}. Raises InputError, with what there is, for a metric that no run has."""
    known = [analysis_metrics(run) for run in runs]
    refuse_unknown(metric, known)
    return {run.path: metrics.get(metric, MetricOfRun()) for run, metrics in zip(runs, known, strict=True)}


def refuse_unknown(metric: str, known: Sequence[Mapping[str, MetricOfRun]]) -> None:
    """Raise InputError, with what there is, for a metric that none of the runs has."""
    if not any(metric in metrics for metrics in known):
        names = dict.fromkeys([*STAGE_METRICS, *(name for metrics in known for name in metrics)])
        hint = did_you_mean(metric, names)
        raise InputError(f'{option("metric")}: no run has a metric called "{metric}"; {hint}')


def declared_metric(runs: Sequence[RunRecord], metric: str) -> Metric | None:
    """What `analyses.NAME.METRIC` is, as the analyzer declares it; None for a stage's metric."""
    if not metric.startswith(PREFIX):
        return None
    name, _, key = metric.removeprefix(PREFIX).rpartition(".")
    folders = [folder for run in runs for folder in (run.path, *sorted((run.path / "repeats").glob("*-*")))]
    return of(declared_in(folder / "analyses" / name / "report.json" for folder in folders), key)


def stage_values(run: RunRecord, stage: str, metric: str) -> dict[int, float]:
    """{seed or fold: best value} of a stage, of the repeats or of the run itself."""
    sources = [(int(seed_or_fold.number(one, i)), one.get("stages") or {}) for i, one in enumerate(run.repeats)]
    if not sources:
        sources = [(_seed(run), run.stages)]
    return _by_seed({seed: ((stages.get(stage) or {}).get("best") or {}).get(metric) for seed, stages in sources})


def analysis_metrics(run: RunRecord) -> dict[str, MetricOfRun]:
    """Everything that the run's analyses measured, by full name."""
    if run.repeats:
        return {
            f"{PREFIX}{name}.{metric}": MetricOfRun(one.get("mean"), _by_seed(one.get("values") or {}))
            for name, metrics in (run.result.get("metrics") or {}).items()
            for metric, one in (metrics or {}).items()
            if one is not None
        }
    return {
        f"{PREFIX}{name}.{metric}": MetricOfRun(value, _by_seed({_seed(run): value}))
        for name, path in (run.result.get("analyses") or {}).items()
        for metric, value in (read_report(run.path / str(path), run.problems).get("metrics") or {}).items()
    }


def _seed(run: RunRecord) -> int:
    return int(run.recipe.get("fold") or run.recipe.get("seed") or 0)


def _by_seed(values: Mapping[Any, float | None]) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in values.items() if value is not None}


@dataclass(frozen=True)
class Row:
    """One run of the comparison."""

    run: RunRecord
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
    """Of this group's value minus the first group's; None where no seed is shared, and too few for Welch's interval."""


@dataclass(frozen=True)
class Difference:
    """A group minus the first group. All groups' intervals hold at once: 95 %, with Bonferroni's correction.

    `paired`: over the seeds that both have, at least two, with Student's interval; `sd` is that of the pairs. Otherwise
    Welch's interval over all seeds of both. `low` and `high` are None for a single pair. `n` counts pairs, or seeds.
    """

    mean: float
    sd: float | None
    n: int
    low: float | None
    high: float | None
    paired: bool

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 0. One without any width does not: few images give equal differences."""
        return (
            self.low is not None and self.high is not None and self.low < self.high and not self.low <= 0 <= self.high
        )


@dataclass(frozen=True, repr=False)
class Comparison(Tabular):
    """Everything that `transferkit compare` prints. Its table has a row per run."""

    stage: str
    metric: str
    keys: list[str]
    rows: list[Row]
    groups: list[Group] = field(default_factory=list)
    declared: Metric | None = None
    """What an analysis measured, as its analyzer declares it."""

    def records(self) -> list[dict[str, Any]]:
        """A row per run: what differs between the recipes, and what it reached; epochs count from 1."""
        return [
            {
                "run": str(row.run.path),
                **row.settings,
                f"best {self.metric}": row.best,
                "epoch": None if row.epoch is None else row.epoch + 1,
                f"last {self.metric}": row.last,
                "seconds": row.seconds,
                "status": row.run.status,
            }
            for row in self.rows
        ]

    def heading(self) -> str:
        """What is compared."""
        return f"{len(self.rows)} runs, stage {self.stage}, by {self.metric}"


def run_folders(paths: Sequence[Path]) -> list[Path]:
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
    runs = [read_run(path) for path in run_folders(paths)]
    chosen = choose_stage(runs, stage)
    metric = metric or _usual_metric(runs, chosen)
    found = metric_of_runs(runs, metric) if metric not in STAGE_METRICS else {}
    recipes = [dict(dotted_keys(run.recipe)) for run in runs]
    keys = differing(recipes)
    columns = [collapse(keys, recipes, recipe) for recipe in recipes]
    shown = list(dict.fromkeys(key for column in columns for key in column))
    rows = [
        _row(run, label, {key: column.get(key) for key in shown}, chosen, metric, found.get(run.path))
        for run, label, column in zip(runs, labels(runs), columns, strict=True)
    ]
    return Comparison(
        chosen, metric, shown, rows, group(rows, _largest_gap(runs, metric)), declared_metric(runs, metric)
    )


def _usual_metric(runs: Sequence[RunRecord], stage: str) -> str:
    best = [run.stages[stage].get("best") or {} for run in runs]
    only_loss = all(one.get("top1") is None for one in best) and any(one.get("loss") is not None for one in best)
    return "loss" if only_loss else "top1"


def choose_stage(runs: Sequence[RunRecord], wanted: str | None) -> str:
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


def dotted_keys(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A recipe as (dotted key, plain value); list items go by name: `stages.target.regularizers.bss.k`."""
    key = prefix.rpartition(".")[2]
    if isinstance(value, list) and key in NAMED_LISTS and all(isinstance(item, Mapping) for item in value):
        value = {str(item.get("name") or plain_name(str(item.get("use") or i))): item for i, item in enumerate(value)}
    if isinstance(value, Mapping) and (value or key in NAMED_LISTS):
        for name, inner in value.items():
            yield from dotted_keys(inner, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def differing(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values are not the same everywhere, in the order in which the recipes have them."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe if key not in NEVER_DIFFER)
    return [key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes)]


def collapse(keys: Sequence[str], recipes: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's values of the differing keys, with a plugin that some recipes lack as one key: its weight.

    Further options of such a plugin are kept only where the recipes that have it disagree.
    """
    result: dict[str, Any] = {}
    for key in keys:
        owner = _plugin_of(key, recipes)
        users = [other for other in recipes if owner and f"{owner}.use" in other]
        if not owner or len(users) == len(recipes):
            result[key] = recipe.get(key)
            continue
        result.setdefault(owner, _presence(recipe, owner) if f"{owner}.use" in recipe else None)
        weight = key.startswith(f"{owner}.weight")
        if not weight and any(other.get(key) != users[0].get(key) for other in users):
            result[key] = recipe.get(key)
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
    start = f"{plugin}.weight."
    terms = (f"{key.removeprefix(start)}={value}" for key, value in recipe.items() if key.startswith(start))
    return " ".join(terms) or True


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """{key: the shortest dotted ending that no other key shares}."""
    names = {}
    for key in keys:
        parts = key.split(".")
        endings = (".".join(parts[-n:]) for n in range(1, len(parts) + 1))
        others = [f".{other}" for other in keys if other != key]
        names[key] = next((end for end in endings if not any(one.endswith(f".{end}") for one in others)), key)
    return names


def labels(runs: Sequence[RunRecord]) -> list[str]:
    """The folder names of the runs, with parents as far as needed to tell them apart."""
    parts = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(path) for path in parts]


def _row(
    run: RunRecord, label: str, settings: Mapping[str, Any], stage: str, metric: str, found: MetricOfRun | None
) -> Row:
    if found is not None:
        return Row(run, label, settings, found.mean, None, None, run.seconds(stage), found.values)
    entry = run.stages[stage]
    best, last = entry.get("best") or {}, entry.get("last") or {}
    values = stage_values(run, stage, metric)
    return Row(run, label, settings, best.get(metric), last.get(metric), best.get("epoch"), run.seconds(stage), values)


def _largest_gap(runs: Sequence[RunRecord], metric: str) -> float:
    """How far apart two numbers of that metric can be: shares by 1."""
    declared = declared_metric(runs, metric)
    share = metric in SHARES if declared is None else declared.unit == "share"
    return 1.0 if share else math.inf


def group(rows: Sequence[Row], most: float = math.inf) -> list[Group]:
    """The rows by settings without seeds, with differences to the first; nothing if no seeds repeat.

    No two of the numbers can be further apart than `most`.
    """
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(repr({key: row.settings[key] for key in row.settings if key not in SEEDS}), []).append(row)
    groups = [_group(found) for found in members.values()]
    if not any(len(one.values) > 1 for one in groups):
        return []
    first, rest = groups[0], groups[1:]
    return [first, *(Group(g.settings, g.values, g.mean, g.sd, difference(g, first, len(rest), most)) for g in rest)]


def _group(rows: Sequence[Row]) -> Group:
    """One group; of several runs with one seed the last counts."""
    values = {seed: value for row in rows for seed, value in row.values.items()}
    settings = {key: value for key, value in rows[0].settings.items() if key not in SEEDS}
    found = over_seeds(values.values())
    return Group(settings, values, found.mean, found.sd)


def difference(one: Group, first: Group, comparisons: int = 1, most: float = math.inf) -> Difference | None:
    """By pairs of seeds where at least two are shared, else between all seeds of two groups of at least two."""
    shared = [seed for seed in one.values if seed in first.values]
    sides = one, first
    paired = len(shared) > 1 or bool(shared and min(len(side.values) for side in sides) < 2)
    if not paired and min(len(side.values) for side in sides) < 2:
        return None
    mine, theirs = ([side.values[seed] for seed in (shared if paired else side.values)] for side in sides)
    found = difference_over_seeds(mine, theirs, paired, 1 - 0.05 / comparisons).within(-most, most)
    if math.isnan(found.value):
        return None
    spread = sample_sd(a - b for a, b in zip(mine, theirs, strict=True)) if paired else math.nan
    sd, low, high = (None if math.isnan(number) else number for number in (spread, found.low, found.high))
    return Difference(found.value, sd, found.n, low, high, paired)
