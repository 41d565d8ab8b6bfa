"""What people see while a stage trains: a live bar on a terminal and in notebooks, plain lines elsewhere.

And run.log always. The bar of a notebook needs ipywidgets; without it there are lines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from transferkit.system import signals
from transferkit.system.standard_streams import Guarded
from transferkit.system.terminal import print_wrapped
from transferkit.training.epoch_lines import MEANINGS, Forecast, beside, header, row
from transferkit.words.formats import duration, percent
from transferkit.words.text import one_line, printable

REFRESH = 0.5  # seconds between two looks at the losses: each costs a device sync
PLAIN_EVERY = 20.0  # seconds between two progress lines where there is no terminal
LONG = 90.0  # seconds of other work that are foretold
PATIENCE = 2.0  # seconds of work before a progress display appears
NARROW = 70  # columns of a terminal below which a progress display is numbers only


class Bar(Protocol):
    """A piece of work under way."""

    def advance(self, amount: int = 1) -> None:
        """So much more is done. Raises Stopped after a signal, except where a training step has to end first."""


class Display:
    """Everything a run says goes through here, to standard error: standard output is for results."""

    def __init__(self, log: Path | None = None, *, quiet: bool = False, main: bool = True) -> None:
        self.console = Console(file=cast("TextIO", Guarded(sys.stderr)), highlight=False)
        self.quiet = quiet or not main
        self.notebook = self.console.is_jupyter and find_spec("ipywidgets") is not None
        self.live = (self.console.is_terminal or self.notebook) and not self.quiet
        self._log = log if main else None
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._looked = self._printed = self._began = time.monotonic()
        self._steps = self._first = 0
        self._epoch = (0, 0)
        self._headed = self._explained = False
        self._forecast = Forecast()

    # -- lines ------------------------------------------------------------------------------------------------

    def line(self, text: str, *, style: str | None = None) -> None:
        """One permanent line, with nothing in it that a terminal would obey."""
        text = printable(text)
        if not self.quiet:
            print_wrapped(self.console, text, style)
        self.record(text)

    def warn(self, text: str) -> None:
        """Something the user should know."""
        self.line(f"warning: {text}", style="yellow")

    def record(self, text: str) -> None:
        """To run.log only."""
        text = printable(text)
        if self._log is not None:
            stamp = time.strftime("%H:%M:%S", time.gmtime())
            with suppress(OSError), self._log.open("a", encoding="utf-8") as file:  # a full disk is said elsewhere
                file.write(f"{stamp}  {text}\n")

    # -- training ---------------------------------------------------------------------------------------------

    def begin_stage(self, later: int) -> None:
        """A stage begins; those after it will train on so many images, as far as is known."""
        self._headed = False
        self._forecast.begin_stage(later)

    def finish_stage(self, name: str, entry: Mapping[str, Any]) -> None:
        """What a stage came to."""
        best, last = entry["best"], entry["last"]
        if best is None or last is None:
            return
        if "selected" in best and "selected" in last:
            what, values = best["select"], [f"{one['selected']:.4f}" for one in (best, last)]
        elif best.get("top1") is not None and last.get("top1") is not None:
            what, values = "top-1", [percent(one["top1"]) for one in (best, last)]
        else:
            what, values = "loss", [f"{one['loss']:.4f}" for one in (best, last)]
        epochs = "" if best["epoch"] is None else f" (epoch {best['epoch'] + 1}), last {values[1]}"  # None: no training
        named = "" if best["epoch"] is None else "best "
        self.line(f"stage {name}: {named}{best['split']} {what} {values[0]}{epochs}, {duration(entry['seconds'])}")

    def begin_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """A new bar."""
        self._epoch, self._steps, self._first = (epoch, epochs), steps, done
        self._began = time.monotonic()
        if self.live:
            counted = *self._bar(), MofNCompleteColumn()
            shown = TextColumn("{task.fields[text]}"), TimeRemainingColumn(compact=True)
            self._progress = self.bar(TextColumn(f"epoch {epoch + 1}/{epochs}"), *counted, *shown)
            self._task = self._progress.add_task("", total=steps, completed=done, text="")
            self._progress.start()

    def bar(self, *columns: ProgressColumn) -> Progress:
        """A bar that goes when it is stopped. A notebook's is drawn only by whoever updates it: lines that another
        thread's drawing overtakes would go with the bar.
        """
        return Progress(*columns, console=self.console, transient=True, auto_refresh=not self.notebook)

    def due(self) -> bool:
        """Whether it is time to look at the losses again."""
        now = time.monotonic()
        if now - self._looked < REFRESH:
            return False
        self._looked = now
        return True

    def step(
        self, done: int, *, losses: Mapping[str, float], lr: tuple[float, float], images: int, waited: float
    ) -> None:
        """How it stands within the epoch."""
        elapsed = max(time.monotonic() - self._began, 1e-9)
        speed = f"{images / elapsed:.0f} img/s"
        if self._progress is not None and self._task is not None:
            text = f"loss {losses['loss']:.4g}  {speed}"
            self._progress.update(self._task, completed=done, text=text, refresh=self.notebook)
        elif time.monotonic() - self._printed > PLAIN_EVERY:
            self._printed = time.monotonic()
            rate = f"lr {lr[0]:.1e}" + (f"/{lr[1]:.1e}" if lr[1] != lr[0] else "")
            shown = " ".join(f"{name} {value:.4g}" for name, value in losses.items())
            left = elapsed / max(done - self._first, 1) * (self._steps - done)
            epoch, epochs = self._epoch
            self.line(
                f"epoch {epoch + 1}/{epochs}  step {done}/{self._steps}  {shown}  {rate}  {speed}  "
                f"data {100 * waited / elapsed:.0f}%  {left:.0f} s left"
            )

    def end_epoch(self, records: Sequence[Mapping[str, Any]], *, improved: bool, waited: float, images: int) -> None:
        """A row that stays; `images` are those that this process has trained on since the epoch or it began."""
        self.end()
        train, (_, epochs) = records[0], self._epoch
        if not self._headed:
            self._headed = True
            self.line(header(next((one for one in records[1:] if one["split"] == "val"), None)), style="bold")
            if not self._explained:
                self._explained = True
                self.line(MEANINGS, style="dim")
        self._forecast.add(train["seconds"], images)
        left = self._forecast.left(train["images"] * (epochs - train["epoch"] - 1))
        self.line(row(records, epochs, improved=improved, left=left))
        if more := beside(records, waited):
            self.line(more)
        self._printed = time.monotonic()

    def _bar(self) -> list[ProgressColumn]:
        return [BarColumn(bar_width=24)] if self.console.width >= NARROW else []

    def end(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None

    # -- other work -------------------------------------------------------------------------------------------

    @contextmanager
    def task(self, total: int, description: str) -> Iterator[Bar]:
        """A bar for any other work; it appears only when the work takes more than two seconds."""
        bar = _Work(self, total, one_line(description))
        try:
            yield bar
        finally:
            bar.close()


def shortened(name: str, width: int = 24) -> str:
    """A class name that fits a line: ImageNet's are lists of synonyms."""
    name = one_line(name)
    return name if len(name) <= width else name[: width - 1].rstrip(", ") + "…"


class _Work:
    """Progress of one task that is not training."""

    def __init__(self, display: Display, total: int, description: str) -> None:
        self.display, self.total, self.description = display, total, description
        self.done = 0
        self._foretold = False
        self._began = self._said = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""
        signals.check()
        self.done += amount
        now = time.monotonic()
        if not self._foretold and now - self._began > PATIENCE:  # once, after the first seconds
            self._foretold = True
            left = (now - self._began) / max(self.done, 1) * (self.total - self.done)
            if left > LONG:
                self.display.line(f"{self.description}: {self.total:,} to do, about {duration(left)} left")
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self.done, refresh=self.display.notebook)
        elif self.display.live and now - self._began > PATIENCE and self.display._progress is None:
            named = TextColumn("{task.description}", markup=False)
            self._progress = self.display.bar(named, *self.display._bar(), MofNCompleteColumn(), TimeRemainingColumn())
            self._task = self._progress.add_task(self.description, total=self.total, completed=self.done)
            self._progress.start()
        elif not self.display.live and now - self._said > PLAIN_EVERY:
            self._said = now
            self.display.line(f"{self.description}: {self.done}/{self.total}")

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
