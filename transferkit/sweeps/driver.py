"""One command runs all cells: it plans them, starts them where there is room, and can be killed at any time.

Nothing is remembered but the run folders: whoever starts the same sweep again finds done cells done, lets running ones
run, and goes on with those that were stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from transferkit.errors import InputError, Interrupted, StorageError
from transferkit.runs.beginning import new_run
from transferkit.sweeps.cells import Cell
from transferkit.sweeps.executors import Executor, Job, transferkit
from transferkit.sweeps.folder import CELLS, Entry, Standing, SweepFolder
from transferkit.sweeps.sharing import SharedStages
from transferkit.system.signals import Stopped, StopSignal
from transferkit.words.text import one_line

LOOK = 1.0  # seconds between two looks
LAST_WORDS = 4096  # bytes of a log in which the reason of a failure is looked for


class Sampling(Protocol):
    """Where cells come from as others end; see search.py."""

    def more(self, standings: Mapping[str, Standing]) -> Sequence[Cell]:
        """Cells to be added now; the sweep ends when none runs and none comes."""

    def hopeless(self, running: Sequence[Cell]) -> Mapping[str, str]:
        """{name: why} of running cells that are not worth their time."""


@dataclass
class Driver:
    """What starts the cells of a sweep and waits for them."""

    folder: SweepFolder
    cells: list[Cell]
    facts: Mapping[str, Any]
    executor: Executor
    stop: StopSignal
    say: Callable[[str], None]
    sampling: Sampling | None = None
    allow_plugins: bool = False
    retry: bool = False
    """Start cells once more that failed."""
    shared: SharedStages = field(default_factory=SharedStages)
    _jobs: dict[str, Job] = field(default_factory=dict, init=False)
    _tried: set[str] = field(default_factory=set, init=False)
    """Cells that this driver started: each is started once."""
    _settled: dict[str, Standing] = field(default_factory=dict, init=False)
    """How cells stand that will not stand otherwise: they are not looked at again."""
    _lost: dict[str, str] = field(default_factory=dict, init=False)
    """{name: why} of cells whose command ended without a word in their run folder."""

    def run(self, show: Callable[[Mapping[str, Standing]], None]) -> dict[str, Standing]:
        """Run all cells; `show` gets how they stand after every look. Raises Interrupted after a signal, when all
        that ran has saved what it had.
        """
        self._write_plan()
        try:
            while True:
                standings = self._look()
                show(standings)
                if self._grows(standings):
                    continue
                if self._ends(standings):
                    return standings
                self._start_what_fits(standings)
                self.stop.check()
                time.sleep(LOOK)
        except Stopped as stopped:
            self._stop_all()
            raise Interrupted(
                "stopped while running a sweep; its cells have saved what they had", stopped.number
            ) from None
        finally:
            self.executor.close()

    # -- looking ------------------------------------------------------------------------------------------------------

    def _look(self) -> dict[str, Standing]:
        """How all cells stand, after those that ended were taken note of."""
        for name, job in list(self._jobs.items()):
            code = job.poll()
            if code is not None:
                del self._jobs[name]
                self._ended(name, code)
        open_ones = [cell for cell in self.cells if cell.name not in self._settled]
        found = {cell.name: self._standing(cell.name) for cell in open_ones}
        self.shared.look((one, self.folder.run(one.name)) for one in open_ones if found[one.name].status != "waiting")
        self._settled |= {name: one for name, one in found.items() if one.status in ("done", "pruned")}
        if self.sampling is not None:
            for name, why in self.sampling.hopeless([cell for cell in self.cells if cell.name in self._jobs]).items():
                self._prune(name, why)
        return {cell.name: self._settled.get(cell.name) or found[cell.name] for cell in self.cells}

    def _standing(self, name: str) -> Standing:
        """What its run folder says, and what only this process knows."""
        standing = self.folder.standing(name)
        if name in self._jobs and standing.status not in ("done", "pruned"):
            return Standing("running")
        if name in self._lost and standing.status not in ("done", "running", "pruned"):
            return Standing("failed", self._lost[name])
        return standing

    def _ended(self, name: str, code: int) -> None:
        run = self.folder.run(name)
        self.shared.ended(run)
        standing = self.folder.standing(name)
        if standing.status == "running":  # by a process that outlived the node or the sweep that started it
            self._tried.discard(name)
            return
        if code and standing.status not in ("done", "failed", "pruned"):
            self._lost[name] = last_words(self.folder.log(name)) or f"its command ended with {code}"
        if standing.status not in ("done", "pruned"):
            self.say(f"{name}: {self._lost.get(name) or standing.why or standing.status}")

    def _grows(self, standings: Mapping[str, Standing]) -> bool:
        """Whether cells were added."""
        more = list(self.sampling.more(standings)) if self.sampling is not None else []
        self.cells += more
        if more:
            self._write_plan()
        return bool(more)

    def _ends(self, standings: Mapping[str, Standing]) -> bool:
        open_ones = [name for name, one in standings.items() if one.status in ("waiting", "stopped", "running")]
        again = [name for name, one in standings.items() if self.retry and one.status == "failed"]
        return not self._jobs and all(name in self._tried for name in again) and all(
            name in self._tried and standings[name].status != "running" for name in open_ones
        )  # fmt: skip

    # -- starting -----------------------------------------------------------------------------------------------------

    def _start_what_fits(self, standings: Mapping[str, Standing]) -> None:
        """Start what there is room for; not while another cell trains a stage that it needs as well."""
        for cell in self.cells:
            if len(self._jobs) >= self.executor.slots:
                return
            self.stop.check()
            status = standings[cell.name].status
            wanted = status in ("waiting", "stopped") or (status == "failed" and self.retry)
            if wanted and cell.name not in self._tried and not self.shared.waits(cell, self.folder.run(cell.name)):
                self._start(cell)

    def _start(self, cell: Cell) -> None:
        run = self.folder.run(cell.name)
        if not (run.path / "recipe.yaml").is_file():
            stages = [stage.name for stage in cell.loaded.recipe.stages]
            facts = {"processes": 1, "device": cell.loaded.recipe.device, "sweep": self.folder.path.name}
            run = new_run(cell.loaded, self.folder.path, stages, facts, (CELLS, cell.name))
        taken = self.shared.begin(cell, run)
        trust = ["--allow-plugins"] if self.allow_plugins else []
        self._lost.pop(cell.name, None)
        self._tried.add(cell.name)
        self._jobs[cell.name] = self.executor.start(
            transferkit("resume", str(run.path), "--quiet", *trust), self.folder.log(cell.name)
        )
        self.say(f"{cell.name}: started" + (f", with {', '.join(taken)} of another cell" if taken else ""))

    def _write_plan(self) -> None:
        entries = [Entry(one.name, one.label, one.seed, one.settings) for one in self.cells]
        self.folder.write_plan(self.facts, entries)

    # -- ending -------------------------------------------------------------------------------------------------------

    def _prune(self, name: str, why: str) -> None:
        run = self.folder.run(name)
        job = self._jobs.pop(name)
        _end({name: job})
        self.shared.ended(run)
        with suppress(InputError, StorageError):
            run.write_result(run.result | {"pruned": why})
        self.say(f"{name}: ended early, {why}")

    def _stop_all(self) -> None:
        with self.stop.held("waiting for the running cells to save what they have"):
            _end(self._jobs)
            self._jobs = {}


def _end(jobs: Mapping[str, Job]) -> None:
    for job in jobs.values():
        job.stop()
    while any(job.poll() is None for job in jobs.values()):
        time.sleep(0.05)


def last_words(log: Path) -> str:
    """The last line that a command wrote that is no advice: what it said when it ended."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_WORDS))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    said = [line for line in lines if line.strip() and not line.startswith((" ", "go on with"))]
    return one_line(said[-1].strip()) if said else ""
