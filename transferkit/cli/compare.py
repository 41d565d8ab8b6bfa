"""`transferkit compare`: runs side by side, one row each, with means over seeds where seeds repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from transferkit.analysis.comparison import Comparison, Group, Row, compare_runs, short_names
from transferkit.analysis.measured import STAGE_METRICS
from transferkit.cli.output import note, print_json, say, table
from transferkit.formats import duration, epoch_of, number, percent


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold runs.", show_default=False)],
    stage: Annotated[str | None, typer.Option(help="The stage; default: the last that all runs have.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="top1, loss or analyses.NAME.METRIC; default: top1, or loss where no run has one."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Compare runs: what differs between their recipes, and what each reached."""
    found = compare_runs(runs, stage=stage, metric=metric)
    for row in found.rows:
        for problem in row.run.problems:
            note(f"{row.label}: {problem}")
    if json:
        print_json(as_json(found))
        return
    by_stage = found.metric in STAGE_METRICS
    say(f"stage {found.stage}, {found.metric} on the validation split" if by_stage else found.metric)
    say()
    names = short_names(found.keys)
    _print_rows(found, names)
    if found.groups:
        say()
        _print_groups(found, names)
        if sum(len(row.values) for row in found.rows) > sum(len(one.values) for one in found.groups):
            note("runs with the same recipe and seed count once: the last one given")
    if len(found.rows) == 1:
        note("only one run was found; give two or more to compare them")


def _print_rows(found: Comparison, names: Mapping[str, str]) -> None:
    by_stage = found.metric in STAGE_METRICS
    measured = ["best", "epoch", "last", "time"] if by_stage else ["value", "time"]
    unfinished = any(row.run.status != "done" for row in found.rows)
    columns = ["run", *(names[key] for key in found.keys), *measured, *(["status"] if unfinished else [])]
    rows = []
    for row in found.rows:
        cells = [row.label, *(_cell(row.settings[key]) for key in found.keys), *_measured(row, found.metric)]
        rows.append([*cells, row.run.status] if unfinished else cells)
    table(columns, rows, right={*measured, *_numeric(found.keys, names, [row.settings for row in found.rows])})


def _measured(row: Row, metric: str) -> list[str]:
    if metric not in STAGE_METRICS:
        return [_value(row.best, metric), duration(row.seconds)]
    return [_value(row.best, metric), epoch_of({"epoch": row.epoch}), _value(row.last, metric), duration(row.seconds)]


def _print_groups(found: Comparison, names: Mapping[str, str]) -> None:
    keys = list(found.groups[0].settings)
    columns = [*(names[key] for key in keys), "mean", "sd", "seeds", "difference", "its sd", "pairs"]
    rows = [[*(_cell(one.settings[key]) for key in keys), *_statistics(one, found.metric)] for one in found.groups]
    say("over seeds; differences are to the first row, paired by seed" if len(rows) > 1 else "over seeds")
    width = len(columns) if len(rows) > 1 else len(columns) - 3
    settings = [one.settings for one in found.groups]
    right = {*columns[len(keys) :], *_numeric(keys, names, settings)}
    table(columns[:width], [row[:width] for row in rows], right=right)


def _statistics(one: Group, metric: str) -> list[str]:
    gap = one.difference
    cells = [_value(one.mean, metric), _value(one.sd, metric), str(len(one.values))]
    if gap is None:
        return [*cells, "–", "–", "–"]
    sign = "+" if gap.mean >= 0 else "−"
    return [*cells, sign + _value(abs(gap.mean), metric), _value(gap.sd, metric), str(gap.n)]


def _value(value: float | None, metric: str) -> str:
    return percent(value, 2) if metric == "top1" else number(value)


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
    return {
        "stage": found.stage,
        "metric": found.metric,
        "keys": found.keys,
        "runs": [
            {
                "run_dir": str(row.run.path),
                "status": row.run.status,
                "settings": dict(row.settings),
                "best": row.best,
                "last": row.last,
                "epoch": row.epoch,
                "seconds": row.seconds,
                "values": {str(seed): value for seed, value in row.values.items()},
            }
            for row in found.rows
        ],
        "groups": [_group_json(one) for one in found.groups],
    }


def _group_json(one: Group) -> dict[str, Any]:
    gap = one.difference
    return {
        "settings": dict(one.settings),
        "values": {str(seed): value for seed, value in one.values.items()},
        "mean": one.mean,
        "sd": one.sd,
        "n": len(one.values),
        "difference": None if gap is None else {"mean": gap.mean, "sd": gap.sd, "n": gap.n},
    }
