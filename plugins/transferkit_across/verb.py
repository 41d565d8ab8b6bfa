"""`transferkit across`: what audits and analyses of several runs found, side by side."""

from __future__ import annotations

import json as jsons
import math
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.errors import InputError
from transferkit.report import number

if TYPE_CHECKING:
    from transferkit.report import Report, Table

NAME = "across"
ROWS = 24  # of a table on the terminal
TOO_MUCH = {"run", "why_none", "reliability_one", "reliability_other", "corrected_low", "corrected_high"}


By = StrEnum("By", ["auto", "images", "steps", "epochs", "architecture"])


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
    from transferkit.analysis import note, print_json, say  # at the top, `transferkit --help` would wait for them
    from transferkit_across.entries import read_entries

    entries = read_entries(runs)
    folder = out if out is not None else Path(NAME) / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    found = write(entries, folder, of=of, by=by.value, given=runs)
    if json:
        content = jsons.loads((folder / "analyses" / NAME / "report.json").read_text(encoding="utf-8"))
        print_json({"run_dir": str(folder), "analyses": {NAME: found.metrics}, "tables": content["tables"]})
        return
    say(found.verdict or "")
    for name in ("runs", "pairs"):
        if name in found.tables:
            say()
            _print(found.tables[name], leave_out=TOO_MUCH)
    for gap in found.gaps:
        note(gap)
    say()
    say(f"report   {folder / 'report.html'}")


def write(entries: list[Any], folder: Path, *, of: str | None, by: str, given: list[str]) -> Report:
    """Write a folder like that of a run: result.json, analyses/across, report.html.

    Raises InputError for a folder that has something in it, and leaves nothing behind when something is wrong.
    """
    from transferkit import write_findings
    from transferkit.analysis import picture
    from transferkit_across.options import Options
    from transferkit_across.report import report

    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give a new folder with --out")
    inner = folder / "analyses" / NAME
    options = Options(of=of, by=by)  # type: ignore[arg-type]  # `By` has the same names
    found = report(entries, options, lambda name, width, height: picture(inner / f"{name}.svg", width, height))
    title = f"{len(entries)} models side by side"
    write_findings(folder, NAME, found, title=title, parameters={"runs": given, "of": of, "by": by})
    return found


def _print(shown: Table, leave_out: set[str]) -> None:
    """Without columns that have nothing in them."""
    from transferkit.analysis import note, print_table

    columns = {name: values for name, *values in zip(shown.columns, *shown.rows, strict=True) if name not in leave_out}
    kept = {name: values for name, values in columns.items() if any(_cell(value) != "–" for value in values)}
    numbers = [name for name, values in kept.items() if not any(isinstance(value, str) for value in values)]
    rows = [list(map(_cell, row)) for row in zip(*kept.values(), strict=True)]
    print_table(list(kept), rows[:ROWS], right=numbers)
    if len(shown.rows) > ROWS:
        note(f"{len(shown.rows) - ROWS} more rows are in the report")


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return number(value, 3) if isinstance(value, float) else str(value)
