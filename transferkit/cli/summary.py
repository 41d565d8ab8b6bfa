"""What a run came to: a table, the paths of what was written, and what to try next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.cli.next_steps import model_of, next_steps
from transferkit.errors import InputError
from transferkit.report import Metric
from transferkit.runs import seed_or_fold
from transferkit.runs.record import declared_in, ends_of, of
from transferkit.system.atomic import read_json
from transferkit.system.standard_streams import speaks
from transferkit.system.terminal import print_json, print_table, say, say_whole
from transferkit.words.formats import duration, epoch_of, interval, mean_of, percent, plus_minus

if TYPE_CHECKING:
    from transferkit.api import RunResult

LINES = 8  # of an analysis over seeds


def present(result: RunResult, *, as_json: bool, quiet: bool) -> None:
    """Print a result as JSON or for people, by one process only; then let go of the others."""
    from accelerate import PartialState

    if speaks() and as_json:
        print_json(result.content)
    elif speaks() and not quiet:
        show_result(result)
    PartialState().destroy_process_group()


def show_result(result: RunResult) -> None:
    """Print it to standard output."""
    metric = "top1" if any(has_top1(entry) for entry in result.stages.values()) else "loss"
    rows = [_row(name, entry, metric) for name, entry in result.stages.items()]
    columns = ["stage", "best top-1", "epoch", "last top-1", "val images", "chance", "time"]
    if metric == "loss":
        columns = ["stage", "best loss", "epoch", "last loss", "val rows", "time"]
        rows = [[*row[:5], row[6]] for row in rows]
    say()
    print_table(columns, rows, right=columns[1:])
    for name, entry in result.stages.items():
        for warning in entry["warnings"]:
            say(f"{name}: {warning}")
        for edit in entry.get("edits") or ():
            for text in edit["notes"]:
                say(f"\n{name}, {edit['name']}: {text}")
    for name, verdict in _verdicts(result):
        say(f"\n{name}: {verdict}")
    for line in out_of_fold_lines(result.content):
        say(f"\n{line}")
    if result.content.get("repeats"):
        for line in over_seeds_lines(result.content):
            say(line if line.startswith(" ") else f"\n{line}")
    run_dir, model = result.run_dir, model_of(result.run_dir, result.stages)
    written = {"report": run_dir / "report.html", "metrics": run_dir / "metrics.jsonl", "curves": run_dir / "tb"}
    if model is not None:
        written["model"] = model
    say()
    for what, path in written.items():
        if path.exists():
            say_whole(f"{what:<8} {path}")
    say("\nOpen the report in a browser. Try next:")
    for command in next_steps(run_dir, result.stages):
        say_whole(f"  {command}")


def _verdicts(result: RunResult) -> Iterator[tuple[str, str]]:
    """What each analysis found, in sentences."""
    for name, path in result.analyses.items():
        try:
            report: dict[str, Any] = read_json(result.run_dir / path)
        except InputError:
            continue
        yield name, report.get("verdict") or "nothing could be measured; the report says why"


def has_top1(entry: dict[str, Any]) -> bool:
    """Whether a stage learnt classes, so that an accuracy is on record; numbers only have a loss."""
    return (entry["best"] or {}).get("top1") is not None


def _row(name: str, entry: dict[str, Any], metric: str) -> list[str]:
    best, last = entry["best"] or {}, entry["last"] or {}
    return [
        name,
        mean_of(best, metric),
        epoch_of(best),
        mean_of(last, metric),
        str(entry["images"]["val"]),
        percent(1 / max(len(entry["classes"]), 1)),
        duration(entry["seconds"]),
    ]


def out_of_fold_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What the models of all folds say of the images that each was not trained on: a line per stage."""
    for name, one in (result.get("out_of_fold") or {}).items():
        over = one["over_folds"]
        mean = plus_minus(over["mean"], over["sd"], "share")
        ends = interval(over["low"], over["high"], over["sd"], "share")
        yield (
            f"{name}, out of fold: {percent(one['top1'])} of {one['images']:,} images right (mean over {over['n']} "
            f"folds {mean}, 95 % interval {ends}); each image's answer is in {one['file']}"
        )


def over_seeds_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A block per analysis of a repeated run's result.json: the first metrics that its analyzer declares.

    Those that no seed measured and the ends of the analyzer's intervals, which are over images, are left out.
    """
    repeats = result.get("repeats") or []
    for name, metrics in (result.get("metrics") or {}).items():
        reports = (Path(repeat["run_dir"]) / "analyses" / name / "report.json" for repeat in repeats)
        known = declared_in(reports)
        measured = {key for key in metrics if metrics[key]["n"]} - ends_of(known)
        keys = [key for key in known if key in metrics] or list(metrics)
        shown = [of(known, key) for key in keys if key in measured][:LINES]
        word = seed_or_fold.word(repeats)
        yield f"{name} over {len(repeats)} {word}s: mean ± sd (95 % interval of the mean over {word}s)"
        if not shown:
            yield f"  nothing could be measured; the reports of the {word}s say why"
            continue
        width = max(len(metric.name) for metric in shown)
        for metric in shown:
            yield f"  {metric.name:{width}}  {_value(metric, metrics[metric.key], repeats)}"
        if len(shown) < len(metrics):
            yield f"  {len(metrics) - len(shown)} more in report.html"


def _value(metric: Metric, one: Mapping[str, Any], repeats: Sequence[Mapping[str, Any]]) -> str:
    measured = plus_minus(one["mean"], one["sd"], metric.unit)
    if one["low"] is not None:
        measured += f" ({interval(one['low'], one['high'], one['sd'], metric.unit)})"
    return measured if one["n"] == len(repeats) else f"{measured}, {one['n']} of {seed_or_fold.of(repeats)}"
