"""`transferkit compare`: runs side by side, one row each, with means over seeds where seeds repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from transferkit.errors import InputError
from transferkit.runs.comparison import STAGE_METRICS, Comparison, Difference, Group, compare_runs, short_names
from transferkit.system.terminal import note, print_json, print_table, say
from transferkit.words.formats import duration, epoch_of, in_unit, number, percent

GAPS = ("difference", "its sd", "pairs", "95 % interval")


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, or folders that hold runs.", show_default=False)
    ] = None,
    stage: Annotated[str | None, typer.Option(help="The stage; default: the last that all runs have.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="top1, loss or analyses.NAME.METRIC; default: top1, or loss where no run has one."),
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option(help="The folder of a sweep: its methods by metrics; --metric may be given often.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Compare runs: what differs between their recipes, and what each reached."""
    if (sweep is None) == (not runs):
        raise InputError("give run folders, or --sweep with the folder of a sweep")
    if sweep is not None:
        from transferkit.cli.sweep_table import present_sweep

        present_sweep(sweep, metric or (), stage, json)
        return
    if len(metric or ()) > 1:
        raise InputError("runs are compared by one --metric; several are for --sweep")
    found = compare_runs(runs or (), stage=stage, metric=metric[0] if metric else None)
    for row in found.rows:
        for problem in row.run.problems:
            note(f"{row.label}: {problem}")
    if json:
        print_json(as_json(found))
        return
    by_stage = found.metric in STAGE_METRICS
    say(f"stage {found.stage}, {found.metric} on the validation split" if by_stage else _title(found))
    say()
    names = short_names(found.keys)
    _print_rows(found, names)
    if found.groups:
        say()
        _print_groups(found, names)
        if sum(len(row.values) for row in found.rows) > sum(len(one.values) for one in found.groups):
            note("runs with the same recipe and seed count once: the last one given")
    elif len(found.rows) > 1:
        note(
            "one seed each: another seed may turn the order round, so none of these is shown to be better than another"
        )
    if len(found.rows) == 1:
        note("only one run was found; give two or more to compare them")


def _title(found: Comparison) -> str:
    """What an analysis measured: its name in files, and for people."""
    metric = found.declared
    if metric is None or metric.name == metric.key:
        return found.metric
    return f"{found.metric}: {metric.name}" + ("" if metric.more == "neither" else f" (more is {metric.more})")


def _print_rows(found: Comparison, names: Mapping[str, str]) -> None:
    by_stage = found.metric in STAGE_METRICS
    measured = ["best", "epoch", "last", "time"] if by_stage else ["value", "time"]
    unfinished = any(row.run.status != "done" for row in found.rows)
    columns = ["run", *(names[key] for key in found.keys), *measured, *(["status"] if unfinished else [])]
    rows = []
    for row in found.rows:
        cells = [row.label, *(_cell(row.settings[key]) for key in found.keys), _value(row.best, found)]
        cells += [epoch_of({"epoch": row.epoch}), _value(row.last, found)] if by_stage else []
        rows.append([*cells, duration(row.seconds), *([row.run.status] if unfinished else [])])
    print_table(columns, rows, right={*measured, *_numeric(found.keys, names, [row.settings for row in found.rows])})


def _print_groups(found: Comparison, names: Mapping[str, str]) -> None:
    keys = list(found.groups[0].settings)
    columns = [*(names[key] for key in keys), "mean", "sd", "seeds", *GAPS]
    rows = [[*(_cell(one.settings[key]) for key in keys), *_statistics(one, found)] for one in found.groups]
    several = len(rows) > 1
    say(
        "over seeds; differences are to the first row, paired by seed where two are shared" if several else "over seeds"
    )
    width = len(columns) if several else len(columns) - len(GAPS)
    settings = [one.settings for one in found.groups]
    right = {*columns[len(keys) :], *_numeric(keys, names, settings)}
    print_table(columns[:width], [row[:width] for row in rows], right=right)
    if several:
        _say_what_is_certain([one.difference for one in found.groups[1:]])


def _say_what_is_certain(gaps: Sequence[Difference | None]) -> None:
    certain = sum(gap is not None and gap.certain for gap in gaps)
    together = f"; the {len(gaps)} intervals hold all at once (Bonferroni)" if len(gaps) > 1 else ""
    if len(gaps) == 1:
        told = "leaves out 0: it is certain" if certain else "does not tell it from 0: it is not certain"
        say(f"the difference's interval {told}")
    else:
        say(f"{certain} of {len(gaps)} differences certain: an interval leaves out 0{together}")


def _statistics(one: Group, found: Comparison) -> list[str]:
    gap = one.difference
    cells = [_value(one.mean, found), _value(one.sd, found), str(len(one.values))]
    if gap is None:
        return [*cells, *("–" for _ in GAPS)]
    ends = "–" if gap.low is None or gap.high is None else f"{_signed(gap.low, found)} to {_signed(gap.high, found)}"
    pairs = str(gap.n) if gap.paired else "–"
    return [*cells, _signed(gap.mean, found), _value(gap.sd, found), pairs, ends]


def _signed(value: float, found: Comparison) -> str:
    return ("+" if value >= 0 else "−") + _gap(abs(value), found)


def _value(value: float | None, found: Comparison) -> str:
    if found.metric == "top1":
        return percent(value, 2)
    return number(value) if found.declared is None else in_unit(value, found.declared.unit)


def _gap(value: float, found: Comparison) -> str:
    if found.declared is not None and found.declared.unit == "share":
        return in_unit(value, "points")
    return _value(value, found)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _numeric(keys: Sequence[str], names: Mapping[str, str], settings: Sequence[Mapping[str, Any]]) -> set[str]:
    """The columns that hold numbers only."""
    return {
        names[key]
        for key in keys
        if all(one[key] is None or (isinstance(one[key], int | float) and one[key] is not True) for one in settings)
    }


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison as a JSON value; recipe keys are written in full."""
    measured = ("settings", "best", "last", "epoch", "seconds", "values")
    return {
        "stage": found.stage,
        "metric": found.metric,
        "keys": found.keys,
        "runs": [
            {"run_dir": str(row.run.path), "status": row.run.status} | {name: getattr(row, name) for name in measured}
            for row in found.rows
        ],
        "groups": [
            {name: getattr(one, name) for name in ("settings", "values", "mean", "sd")}
            | {"n": len(one.values)}
            | {"difference": None if gap is None else asdict(gap)}
            for one in found.groups
            for gap in [one.difference]
        ],
    }
