"""The table of a sweep, in the terminal and as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transferkit.report import csv_bytes
from transferkit.sweeps.table import MARKS, SweepTable, latex, sentences, sweep_table
from transferkit.system.atomic import write_bytes, write_text
from transferkit.system.terminal import note, print_json, print_table, say


def present_sweep(folder: Path, metrics: Sequence[str], stage: str | None, as_json: bool) -> None:
    """Print the table of a sweep, and write table.csv, table.tex and table.html with its pictures into its folder."""
    found = sweep_table(folder, metrics, stage)
    if as_json:
        table = found.table()
        print_json([dict(zip(table.columns, row, strict=True)) for row in table.rows])
        return
    columns, rows = found.cells()
    print_table(columns, rows, right=columns[1:])
    say()
    say(f"means over seeds with Student's 95 % interval; {MARKS}; baseline: {found.baseline}")
    say()
    for sentence in sentences(found):
        say(sentence)
    for text in found.notes:
        note(text)
    say()
    for path in write_files(folder, found):
        say(str(path))


def write_files(folder: Path, found: SweepTable) -> list[Path]:
    """The table as CSV, LaTeX and a page with pictures. Raises StorageError."""
    pictures = _draw(folder, found)
    write_bytes(folder / "table.csv", csv_bytes(found.table()))
    write_text(folder / "table.tex", latex(found))
    write_text(folder / "table.html", _page(folder, found, pictures))
    return [folder / "table.csv", folder / "table.tex", folder / "table.html"]


def _draw(folder: Path, found: SweepTable) -> list[tuple[Path, str]]:
    """(file, what it shows) of the pictures that make sense."""
    from transferkit.sweeps.drawings import draw_along, draw_pareto, numeric_keys

    first, drawn = next(iter(found.metrics)), []
    for number, key in enumerate(key for key in found.metrics if key not in (first, "seconds")):
        path = folder / f"pareto-{number}.svg"
        front = draw_pareto(path, found, key, first)
        named = found.metrics[key].name, found.metrics[first].name
        drawn.append((path, f"{named[1]} against {named[0]}; no method is better in both than {', '.join(front)}"))
    for number, key in enumerate(numeric_keys(found)):
        path = folder / f"along-{number}.svg"
        if draw_along(path, found, key, first):
            drawn.append((path, f"{found.metrics[first].name} along {key}"))
    return drawn


def _page(folder: Path, found: SweepTable, pictures: Sequence[tuple[Path, str]]) -> str:
    from transferkit.reporting.page import Markup, figure, heading, page, paragraph, table

    columns, rows = found.cells()
    body = [
        table(columns, rows, right=range(1, len(columns))),
        paragraph(f"Means over seeds with Student's 95 % interval. {MARKS}; baseline: {found.baseline}."),
        *(paragraph(text) for text in (*sentences(found), *found.notes)),
        *(figure(text, (), Markup(path.read_text(encoding="utf-8"))) for path, text in pictures),
    ]
    return page(f"sweep {folder.name}", [heading(1, f"Sweep {folder.name}")], body)
