"""What the verbs print: answers on stdout, everything about the work on stderr.

Tables are drawn for terminals and become plain aligned text in pipes and files. Nothing here reads markup,
so that a class called "[bold]" is printed as it is, and nothing that moves a cursor or cannot be encoded gets through.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from transferkit.report import json_text
from transferkit.system import signals
from transferkit.words.text import hanging, one_line, printable, wrapped

PATIENCE = 2.0  # seconds
BETWEEN = 2  # blanks between columns
console = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Print a JSON value on stdout; NaN and infinities become null."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def say(text: str = "") -> None:
    """Print a line of the answer on stdout; on a terminal it is broken between words."""
    print_wrapped(console, text)


def say_whole(text: str) -> None:
    """Print on stdout what is to be copied, a command or a path: in one line, however long."""
    console.print(printable(text), soft_wrap=True)


def note(text: str) -> None:
    """Print a line about the work on stderr."""
    print_wrapped(err, text)


def print_wrapped(to: Console, text: str, style: str | None = None) -> None:
    """Print text as it is, with nothing in it that a terminal would obey; on a terminal broken between words."""
    text = printable(text)
    shown = wrapped(text, to.width) if to.is_terminal else text
    to.print(shown, style=style, markup=False, soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """Print a table on stdout; the columns named in `right` are aligned right."""
    columns = [one_line(column) for column in columns]
    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    numeric = {one_line(column) for column in right}
    if not console.is_terminal:
        sys.stdout.write(plain_table(columns, cells, right=numeric) + "\n")
        return
    widths = fitting(columns, cells, numeric, console.width)
    if widths is None:
        for row in cells:
            say(blocks(columns, row, console.width))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        drawn.add_column(Text(column), justify="right" if column in numeric else "left", width=width)
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn)


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Container[str], width: int
) -> list[int] | None:
    """How wide each column may be so that the table fits and breaks between words only, or None.

    Cells of numeric columns are not broken at all: a number belongs to its unit.
    """
    widths, least = [], []
    for name, *cells in zip(columns, *rows, strict=True):
        words = [*name.split(), *(cells if name in numeric else " ".join(cells).split())]
        widths.append(max(map(cell_len, (name, *cells))))
        least.append(max(map(cell_len, words), default=0))
    room = width - BETWEEN * len(columns)
    while sum(widths) > room:
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i], default=None)
        if widest is None:
            return None
        widths[widest] -= 1
    return widths


def blocks(columns: Sequence[str], row: Sequence[str], width: int) -> str:
    """A row of a table that is too wide, as a line for each column that has something."""
    names = max(map(len, columns))
    lines = [f"{name:{names}}  {cell}" for name, cell in zip(columns, row, strict=True) if cell]
    return "\n".join(hanging(line, names + 2, width) for line in lines) + "\n"


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[str] = ()) -> str:
    """The table as text: two spaces between columns, no lines, no trailing spaces."""
    numeric = set(right)
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        parts = (
            cell.rjust(width) if name in numeric else cell.ljust(width)
            for name, cell, width in zip(columns, cells, widths, strict=True)
        )
        return "  ".join(parts).rstrip()

    return "\n".join([line(columns), *(line(row) for row in rows)])


@contextmanager
def progress(total: int | None, description: str) -> Iterator[Callable[[int], None]]:
    """A function that counts work done; on a terminal, work of more than two seconds gets a bar on stderr.

    It raises Stopped after a signal.
    """
    if not err.is_terminal:
        yield lambda count: signals.check()
        return
    from rich.progress import Progress

    started = time.monotonic()
    bar = Progress(console=err, transient=True)
    task = bar.add_task(description, total=total)

    def advance(count: int) -> None:
        signals.check()
        bar.advance(task, count)
        if not bar.live.is_started and time.monotonic() - started > PATIENCE:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


@contextmanager
def working(description: str) -> Iterator[Callable[[str], None]]:
    """A function that names the present step, for work that cannot be counted.

    On a terminal, work of more than two seconds shows its step and the time passed on stderr, also while
    `sys.stderr` leads elsewhere.
    """
    if not err.is_terminal:
        yield lambda text: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    terminal = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    shown = Progress(*columns, console=terminal, transient=True, redirect_stdout=False, redirect_stderr=False)
    task = shown.add_task(description, total=None)
    patience = threading.Timer(PATIENCE, shown.start)
    patience.daemon = True
    patience.start()
    try:
        yield lambda text: shown.update(task, description=one_line(text))
    finally:
        patience.cancel()
        patience.join()
        shown.stop()
