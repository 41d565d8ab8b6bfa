"""`transferkit across`: what audits and analyses of several runs found, side by side."""

from __future__ import annotations

import json as jsons
import math
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli.output import note, print_json, say, table
from transferkit.errors import InputError
from transferkit.formats import number

if TYPE_CHECKING:
    from transferkit.report import Report, Table

NAME = "across"
ROWS = 24  # of a table on the terminal


class By(StrEnum):
    """What numbers are drawn over."""

    auto = "auto"
    images = "images"
    steps = "steps"
    epochs = "epochs"
    architecture = "architecture"


def across(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Folders of runs or audits, or RUN:ANALYSIS where one has several of a kind.", show_default=False
        ),
    ],
    of: Annotated[str | None, typer.Option(help="Only this PLUGIN.COLUMN or PLUGIN.METRIC.")] = None,
    by: Annotated[By, typer.Option(help="What numbers are drawn over; auto takes what differs.")] = By.auto,
    out: Annotated[Path | None, typer.Option(help="The folder to write; default: across/ and the time.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Compare what analyses of several runs found: classes in pairs of models, numbers over size and architecture."""
    from transferkit_across.entries import read_entries

    entries = read_entries(runs)
    folder = out if out is not None else Path(NAME) / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    found = write(entries, folder, of=of, by=by.value, given=runs)
    if json:
        content = jsons.loads((folder / "analyses" / NAME / "report.json").read_text(encoding="utf-8"))
        print_json({"run_dir": str(folder), "analyses": {NAME: found.metrics}, "tables": content["tables"]})
        return
    show(found, folder)


def write(entries: list[Any], folder: Path, *, of: str | None, by: str, given: list[str]) -> Report:
    """Write a folder like that of a run: result.json, analyses/across, report.html.

    Raises InputError for a folder that has something in it, and leaves nothing behind when something is wrong.
    """
    from transferkit import __version__
    from transferkit.analysis.html import write_report
    from transferkit.analysis.plots import picture
    from transferkit.folder import RunFolder
    from transferkit_across.report import report

    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give a new folder with --out")
    inner = folder / "analyses" / NAME
    found = report(entries, lambda name, width, height: picture(inner / f"{name}.svg", width, height), of=of, by=by)
    found.write(inner, name=NAME, plugin=NAME, version=__version__, parameters={"runs": given, "of": of, "by": by})
    path = f"analyses/{NAME}/report.json"
    title = f"{len(entries)} models side by side"
    content = {"status": "done", "title": title, "run_dir": str(folder), "stages": {}, "analyses": {NAME: path}}
    RunFolder(folder).write_result(content)
    write_report(folder)
    return found


def show(found: Report, folder: Path) -> None:
    """The verdict, the table of models, the pairs, and where the rest is."""
    say(found.verdict or "")
    for name in ("runs", "pairs"):
        if name in found.tables:
            say()
            _print(found.tables[name], leave_out={"run", "why_none"})
    for gap in found.gaps:
        note(gap)
    say()
    say(f"report   {folder / 'report.html'}")


def _print(shown: Table, leave_out: set[str]) -> None:
    """Without columns that have nothing in them."""
    kept = [
        i
        for i, name in enumerate(shown.columns)
        if name not in leave_out and any(_cell(row[i]) != "–" for row in shown.rows)
    ]
    columns = [str(shown.columns[i]) for i in kept]
    numbers = [
        name for i, name in zip(kept, columns, strict=True) if all(not isinstance(r[i], str) for r in shown.rows)
    ]
    table(columns, [[_cell(row[i]) for i in kept] for row in shown.rows[:ROWS]], right=numbers)
    if len(shown.rows) > ROWS:
        note(f"{len(shown.rows) - ROWS} more rows are in the report")


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return number(value, 3) if isinstance(value, float) else str(value)
