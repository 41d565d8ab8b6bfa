"""`transferkit watch`: an alarm over a log of answers that may be looked at for ever."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli.outputs import require_ending
from transferkit.deploy.interference import FILE, read_interference
from transferkit.deploy.place import model_folder
from transferkit.errors import FINDINGS, InputError
from transferkit.system import signals
from transferkit.system.terminal import note, print_json, say

if TYPE_CHECKING:
    from transferkit.deploy.monitor import Alarm, Monitor
    from transferkit.deploy.watching import Watch

LIMIT = 0.01


def watch(
    log: Annotated[Path, typer.Argument(help="A log of answers: one JSON object per line.", show_default=False)],
    model: Annotated[
        str | None, typer.Argument(help="The guarded model that answered, or its run folder.", show_default=False)
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="The share of clean images that is flagged; default: as calibrated.")
    ] = None,
    error: Annotated[float, typer.Option(help="The chance of a false alarm, ever.")] = LIMIT,
    block: Annotated[int | None, typer.Option(help="So many answers in a row are one decision.")] = None,
    gap: Annotated[float | None, typer.Option(help="Answers less than so many seconds apart are one decision.")] = None,
    state: Annotated[Path | None, typer.Option(help="Go on from this file, and keep what is known in it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more until Ctrl-C; say when it alarms.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks, with --follow.")] = 1.0,
    fail_on_alarm: Annotated[
        bool, typer.Option("--fail-on-alarm", help="Exit code 3 on an alarm; with --follow at once.")
    ] = False,
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Draw the e-values over time into this SVG file.")] = None,
) -> None:
    """Say whether a stream of answers is still like the clean images of the calibration, and since when not."""
    from transferkit.deploy.watching import sentences

    if out is not None:
        require_ending(out, ".svg")
    if not every > 0:
        raise InputError("--every takes a time above 0 seconds")
    watched = _open(log, model, stage, rate, error, block, gap, state)
    final = not follow and state is None

    def look() -> list[Alarm]:
        found = list(watched.take(to_the_end=final))
        if out is not None:
            _draw(out, watched.monitor)
        return found

    def tell() -> None:
        if json:
            print_json(as_json(watched, error))
        else:
            for sentence in sentences(watched.monitor, error, watched.doubts):
                say(sentence)

    look()
    tell()
    while follow and not (fail_on_alarm and watched.monitor.alarms):
        time.sleep(every)
        signals.check()
        if look():
            tell()
    watched.close()
    if out is not None:
        note(f"written to {out}")
    if fail_on_alarm and watched.monitor.alarms:
        raise typer.Exit(FINDINGS)


def _open(
    log: Path,
    model: str | None,
    stage: str | None,
    rate: float | None,
    error: float,
    block: int | None,
    gap: float | None,
    state: Path | None,
) -> Watch:
    from transferkit.deploy.identity import model_id
    from transferkit.deploy.log_lines import LineReader
    from transferkit.deploy.monitor import Blocks, Monitor, hypotheses
    from transferkit.deploy.watching import Watch, Watched

    interference, name = None, None
    if model is not None:
        folder = model_folder(model, stage)
        interference = read_interference(folder)
        if interference is None:
            raise InputError(f"{folder} has no detector ({FILE}), so no answer of it has a flag to watch")
        name = model_id(folder)
    elif rate is None:
        raise InputError("give the MODEL that answered, or the --rate of flags that clean images have")
    monitor = Monitor(hypotheses(interference, error, rate), Blocks(block, gap))
    return Watch(log, monitor, Watched(LineReader(interference), name), state)


def as_json(watched: Watch, error: float) -> dict[str, Any]:
    """What is known for machines."""
    from dataclasses import asdict

    from transferkit.deploy.watching import sentences

    monitor = watched.monitor
    rate, values = monitor.rate, monitor.e_values()
    return {
        "alarm": bool(monitor.alarms),
        "alarms": [asdict(one) for one in monitor.alarms],
        "records": monitor.records,
        "decisions": monitor.evidence.units,
        "flagged": monitor.flagged,
        "rate": rate.value,
        "interval": [rate.low, rate.high],
        "watched": [asdict(one) | {"e_value": values[one.name]} for one in monitor.watched],
        "error": error,
        "doubts": watched.doubts,
        "sentences": sentences(monitor, error, watched.doubts),
    }


def _draw(out: Path, monitor: Monitor) -> None:
    from transferkit.cli.watch_picture import draw_evidence

    draw_evidence(out, monitor)
