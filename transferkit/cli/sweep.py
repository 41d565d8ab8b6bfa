"""`transferkit sweep`: many runs of one recipe, on one machine or many; and how they stand."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from transferkit.cli.inputs import AllowPlugins
from transferkit.cli.outputs import refuse_file
from transferkit.errors import InputError
from transferkit.system.terminal import note, print_json, print_table, say
from transferkit.words.formats import count, duration

if TYPE_CHECKING:
    from transferkit.sweeps.folder import Standing, SweepFolder

ACTIONS = ("status", "retry", "cancel")


def sweep(
    what: Annotated[str, typer.Argument(metavar="SWEEP.yaml", help="A sweep file; or status, retry, cancel.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="After status, retry or cancel: the sweep's folder.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where sweeps are kept.")] = Path("runs/sweeps"),
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time. Locally they share the cores out.")] = 1,
    executor: Annotated[
        Literal["local", "ray", "slurm"], typer.Option(help="Where cells run.", show_default=True)
    ] = "local",
    option: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for the executor, such as slurm_partition=gpu.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the cells and what they cost.")] = False,
    allow_plugins: AllowPlugins = False,
    json: Annotated[bool, typer.Option("--json", help="Print how the cells stand as JSON.")] = False,
) -> None:
    """Run a recipe many times: variants, a grid or a search, times seeds; done cells are never run again.

    Kill it at any time: started again, it goes on. `status FOLDER` shows how its cells stand, `retry FOLDER` starts
    failed ones once more, `cancel FOLDER` stops it.
    """
    from transferkit.sweeps.folder import SweepFolder

    if what in ACTIONS:
        if folder is None:
            raise InputError(f"sweep {what} needs the folder of a sweep, such as runs/sweeps/NAME")
        place = SweepFolder.open(folder)
        if what == "cancel":
            _cancel(place)
            return
        if what == "status":
            _present(place, {one.name: place.standing(one.name) for one in place.entries}, json)
            return
        file, retry, out = Path(str(place.plan.get("file"))), True, folder.absolute().parent
    elif folder is not None:
        raise InputError(
            f'"{what} {folder}" is neither a sweep file alone nor one of {", ".join(ACTIONS)} with a folder'
        )
    else:
        file, retry = Path(what), False
    refuse_file(out, "sweeps")

    from transferkit.sweeps.running import dry, run_sweep
    from transferkit.sweeps.spec import read_sweep

    spec = read_sweep(file)
    if dry_run:
        dry(spec, file, SweepFolder(out / spec.name), jobs, allow_plugins=allow_plugins)
        return
    place, standings = run_sweep(
        spec, file, out, jobs=jobs, kind=executor, options=_options(option or ()), retry=retry,
        allow_plugins=allow_plugins,
    )  # fmt: skip
    _present(place, standings, json)
    if any(one.status == "failed" for one in standings.values()):
        raise typer.Exit(1)


def _options(given: list[str] | tuple[()]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = next((key for key, equals, _ in pairs if not (key and equals)), None)
    if wrong is not None:
        raise InputError(f"--set {wrong}: write KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _cancel(place: SweepFolder) -> None:
    from transferkit.system.run_lock import owner_of

    owner = owner_of(place.path)
    if owner is None:
        note("nothing runs this sweep")
        return
    import socket

    if owner.get("host") != socket.gethostname():
        raise InputError(f"process {owner.get('pid')} on {owner.get('host')} runs this sweep: cancel it there")
    os.kill(int(owner["pid"]), signal.SIGTERM)
    say(f"asked process {owner['pid']} to stop; its cells save what they have")


def _present(place: SweepFolder, standings: Mapping[str, Standing], as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(place.path), "cells": {name: vars(one) for name, one in standings.items()}})
        return
    rows = []
    for entry in place.entries:
        one = standings[entry.name]
        rows.append([entry.label, str(entry.seed), one.status, duration(one.seconds), one.why])
    print_table(["cell", "seed", "status", "time", "why"], rows, right={"seed", "time"})
    say()
    say(summary(standings))
    if any(one.status == "failed" for one in standings.values()):
        note(f"try them once more with: transferkit sweep retry {place.path}")
    elif all(one.status in ("done", "pruned") for one in standings.values()):
        say(f"the table: transferkit compare --sweep {place.path}")


def summary(standings: Mapping[str, Standing]) -> str:
    """3 of 12 cells done, 2 running, 7 waiting."""
    found = Counter(one.status for one in standings.values())
    rest = [f"{number} {status}" for status, number in found.items() if status != "done"]
    return ", ".join([f"{found['done']} of {count(len(standings), 'cell')} done", *rest])
