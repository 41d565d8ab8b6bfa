"""What the cells of a sweep come to: methods by metrics, with intervals over seeds and gaps to a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transferkit.errors import InputError
from transferkit.plugins.registry import installed
from transferkit.report import Metric, Table
from transferkit.runs.comparison import (
    PREFIX,
    STAGE_METRICS,
    MetricOfRun,
    analysis_metrics,
    choose_stage,
    declared_metric,
    refuse_unknown,
    stage_values,
)
from transferkit.runs.record import RunRecord, read_run
from transferkit.statistics import Estimate, difference_over_seeds, holm, mean_over_seeds, paired_p
from transferkit.sweeps.folder import Entry, SweepFolder
from transferkit.words.formats import BOUNDS, in_unit, listing, number

LEVEL = 0.05
Values = Mapping[str, Mapping[int, float]]  # {method: {seed: value}}
Metrics = Mapping[str, MetricOfRun]
TOP1 = Metric("top1", "top-1", "share", "better")
LOSS = Metric("loss", "loss", "number", "worse")
SECONDS = Metric("seconds", "seconds of training", "number", "worse")
OWN = {metric.key: metric for metric in (TOP1, LOSS, SECONDS)}


@dataclass(frozen=True)
class Measured:
    """One metric of one method."""

    values: Mapping[int, float]
    """{seed: value}."""
    mean: Estimate
    """With Student's interval over seeds."""
    gap: Estimate
    """The method minus the baseline, over the seeds that both have."""
    p: float
    """That the gap is none: paired, and adjusted by Holm for all comparisons of the table. NaN: not tested."""
    behind: float
    """The same against the best method of this metric; NaN for the best itself."""

    @property
    def certain(self) -> bool:
        """Whether it is another than the baseline."""
        return self.p <= LEVEL


@dataclass(frozen=True)
class SweepTable:
    """Methods (rows) by metrics (columns)."""

    baseline: str
    metrics: Mapping[str, Metric]
    """{as it is asked for: what it is}."""
    rows: Mapping[str, Mapping[str, Measured]]
    """{method: {metric: …}}."""
    best: Mapping[str, str]
    """{metric: its best method}, of metrics of which more is better or worse."""
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def table(self) -> Table:
        """All numbers, one row per method and metric, for a file."""
        return Table.of([
            {
                "method": method, "metric": key, "mean": one.mean.value, "low": one.mean.low, "high": one.mean.high,
                "seeds": len(one.values), "gap": one.gap.value, "gap_low": one.gap.low, "gap_high": one.gap.high,
                "p_holm": one.p, "best": self.best.get(key) == method, "p_holm_against_best": one.behind,
            }
            for method, found in self.rows.items() for key, one in found.items()
        ])  # fmt: skip

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for people: mean [interval], with marks; see `MARKS`."""
        columns = ["method", *(metric.name for metric in self.metrics.values())]
        rows = [[method, *(self._cell(method, key) for key in self.metrics)] for method in self.rows]
        return columns, rows

    def _cell(self, method: str, key: str) -> str:
        one, unit = self.rows[method].get(key), self.metrics[key].unit
        if one is None or math.isnan(one.mean.value):
            return "–"
        scale, sign = {"share": (100.0, " %"), "points": (100.0, " points")}.get(unit, (1.0, ""))
        text = in_unit(one.mean.value, unit).removesuffix(sign)
        if not math.isnan(one.mean.low):
            low, high = (f"{scale * end:.1f}" if sign else number(end, 3) for end in (one.mean.low, one.mean.high))
            text += f" [{low}, {high}]"
        text += sign
        mark = "*" if self.best.get(key) == method else "~" if key in self.best and not one.behind <= LEVEL else ""
        return text + mark + ("!" if one.certain else "")


MARKS = "* the best mean; ~ not distinguishable from it; ! another than the baseline (paired t over seeds, Holm, 5 %)"


def sweep_table(path: Path, metrics: Sequence[str] = (), stage: str | None = None) -> SweepTable:
    """The table of a sweep's finished cells. Without `metrics`: top-1 (or loss), the seconds, and the headline numbers
    of every analysis.

    Raises InputError for a folder that is no sweep's, without a finished cell, and for a metric that no cell has.
    """
    folder = SweepFolder.open(path)
    entries = [one for one in folder.entries if folder.standing(one.name).status == "done"]
    if not entries:
        raise InputError(f"no cell of {path} is done yet")
    runs = {one.name: read_run(folder.run(one.name).path) for one in entries}
    every = list(runs.values())
    chosen = choose_stage(every, stage)
    measured = {name: analysis_metrics(run) for name, run in runs.items()}
    known = _known(every, list(measured.values()), chosen, metrics)
    values = {key: _values(entries, runs, measured, chosen, key) for key in known}
    methods = list(dict.fromkeys(one.label for one in entries))
    baseline = _baseline(folder, methods)
    best = {key: _best(values[key], metric) for key, metric in known.items() if metric.more != "neither"}
    left_out = len(folder.entries) - len(entries)
    notes = [f"{left_out} of {len(folder.entries)} cells are not done, and left out"] if left_out else []
    settings = {one.label: one.settings for one in entries}
    return SweepTable(baseline, known, _rows(methods, values, known, baseline, best), best, settings, notes)


def _known(
    runs: Sequence[RunRecord], measured: Sequence[Metrics], stage: str, wanted: Sequence[str]
) -> dict[str, Metric]:
    """{metric: what it is}, of those that are wanted or usual."""
    if not wanted:
        best = [run.stages[stage].get("best") or {} for run in runs]
        usual = [key for key in STAGE_METRICS if any(one.get(key) is not None for one in best)]
        wanted = [*usual[:1], *_headlines(runs[0], measured[0]), "seconds"]
    found = {}
    for key in wanted:
        if key not in OWN:
            refuse_unknown(key, measured)
        found[key] = OWN.get(key) or declared_metric(runs, key) or Metric(key, key)
    return found


def _headlines(run: RunRecord, measured: Metrics) -> list[str]:
    """The number with which each analysis of a run answers its question."""
    found = []
    for use in run.recipe.get("analyses") or []:
        offered = installed().find(str(use.get("use")), "analyzer")
        headlines = offered[0].declared.headlines if offered else ()
        names = [f"{PREFIX}{use.get('name') or use.get('use')}.{one.metric}" for one in headlines]
        found += [name for name in names if name in measured][:1]
    return found


def _values(
    entries: Iterable[Entry], runs: Mapping[str, RunRecord], measured: Mapping[str, Metrics], stage: str, key: str
) -> Values:
    """{method: {seed: value}}; what is no finite number is left out."""
    found: dict[str, dict[int, float]] = {}
    for entry in entries:
        run = runs[entry.name]
        if key == SECONDS.key:
            value = run.seconds()
        elif key in STAGE_METRICS:
            value = stage_values(run, stage, key).get(entry.seed)
        else:
            value = measured[entry.name].get(key, MetricOfRun()).values.get(entry.seed)
        mine = found.setdefault(entry.label, {})
        if value is not None and math.isfinite(value):
            mine[entry.seed] = value
    return found


def _baseline(folder: SweepFolder, methods: Sequence[str]) -> str:
    """The method that others are compared with: the baseline variant, or the first of those that begin with it."""
    wanted = folder.plan.get("baseline")
    same = [method for method in methods if method == wanted or method.startswith(f"{wanted}, ")]
    return same[0] if wanted and same else methods[0]


def _best(values: Values, metric: Metric) -> str:
    means = {method: mean_over_seeds(found.values()).value for method, found in values.items()}
    known = {method: mean for method, mean in means.items() if not math.isnan(mean)}
    if not known:
        return ""
    return max(known, key=lambda one: known[one] if metric.more == "better" else -known[one])


def _rows(
    methods: Sequence[str],
    values: Mapping[str, Values],
    known: Mapping[str, Metric],
    baseline: str,
    best: Mapping[str, str],
) -> dict[str, dict[str, Measured]]:
    places = [(method, key) for method in methods for key in values if method in values[key]]
    against = holm([_p(values[key], method, baseline) for method, key in places]).tolist()
    behind = holm([_p(values[key], method, best.get(key, "")) for method, key in places]).tolist()
    rows: dict[str, dict[str, Measured]] = {method: {} for method in methods}
    for (method, key), p, p_best in zip(places, against, behind, strict=True):
        found = values[key][method]
        gap = difference_over_seeds(*_pairs(values[key], method, baseline), paired=True)
        mean = mean_over_seeds(found.values()).within(*BOUNDS.get(known[key].unit, ()))
        rows[method][key] = Measured(found, mean, gap, p, p_best)
    return rows


def _p(values: Values, method: str, other: str) -> float:
    return math.nan if method == other or other not in values else paired_p(*_pairs(values, method, other))


def _pairs(values: Values, method: str, other: str) -> tuple[list[float], list[float]]:
    mine, theirs = values[method], values.get(other, {})
    seeds = [seed for seed in mine if seed in theirs]
    return [mine[seed] for seed in seeds], [theirs[seed] for seed in seeds]


def latex(table: SweepTable) -> str:
    """The table for a paper, with the rules of booktabs."""
    columns, rows = table.cells()
    escaped = [[_tex(cell) for cell in row] for row in [columns, *rows]]
    head, *body = [" & ".join(row) + r" \\" for row in escaped]
    lines = [r"\begin{tabular}{l" + "r" * (len(columns) - 1) + "}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"% {MARKS}; baseline: {table.baseline}"]) + "\n"


def _tex(text: str) -> str:
    for sign in "\\&%$#_{}":
        text = text.replace(sign, r"\textbackslash{}" if sign == "\\" else f"\\{sign}")
    return text.replace("±", r"$\pm$").replace("~", r"$\sim$").replace("–", "--").replace("−", "$-$")


def sentences(table: SweepTable) -> list[str]:
    """What can be said for certain: per metric which methods are above the baseline, and which below."""
    found = []
    for key, metric in table.metrics.items():
        certain = {method: row[key].gap.value for method, row in table.rows.items() if key in row and row[key].certain}
        up, down = ([method for method, gap in certain.items() if (gap > 0) == above] for above in (True, False))
        parts = [f"{listing(ones)} {way}" for ones, way in ((up, "above"), (down, "below")) if ones]
        what = "; ".join(parts) if parts else "no method is certainly above or below"
        found.append(f"{metric.name}: {what} {table.baseline}")
    return found
