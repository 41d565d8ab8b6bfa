"""A sweep from its file to its end: planned, driven, shown while it runs; or only forecast."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from transferkit.recipe.counting import images_to_train
from transferkit.surface import __version__
from transferkit.sweeps.cells import Cell, Known, cells_of
from transferkit.sweeps.driver import Driver
from transferkit.sweeps.executors import Kind, executor
from transferkit.sweeps.folder import Standing, SweepFolder
from transferkit.sweeps.spec import Sweep, recipe_of
from transferkit.system.signals import watching
from transferkit.system.terminal import note, print_table, say
from transferkit.words.formats import count, duration

Standings = Mapping[str, Standing]


def run_sweep(
    sweep: Sweep,
    file: Path,
    out: Path,
    *,
    jobs: int = 1,
    kind: Kind = "local",
    options: Mapping[str, str] = {},
    retry: bool = False,
    allow_plugins: bool = False,
) -> tuple[SweepFolder, dict[str, Standing]]:
    """Run what is not done of a sweep, in `out/NAME/`; how every cell stands in the end.

    Raises InputError for a recipe or settings that are wrong in any cell (nothing is started), and while another
    process runs this sweep; Interrupted after a signal.
    """
    folder, recipe, known = SweepFolder(out / sweep.name), recipe_of(sweep, file), Known()
    cells = [] if sweep.search else cells_of(sweep, recipe, known, allow_plugins=allow_plugins)
    with watching() as stop, folder.driving():
        sampling = None
        if sweep.search is not None:
            from transferkit.sweeps.search import Sampler

            sampling = Sampler(sweep, recipe, folder, known, allow_plugins=allow_plugins)
        facts = {"sweep": sweep.name, "file": str(file.absolute()), "version": __version__, "baseline": baseline(sweep)}
        driver = Driver(
            folder, cells, facts, executor(kind, jobs, options, folder.path), stop, note, sampling, allow_plugins, retry
        )
        return folder, driver.run(Progress())


def baseline(sweep: Sweep) -> str | None:
    """The variant that others are compared with."""
    return sweep.baseline or next(iter(sweep.variants), None)


class Progress:
    """How cells stand, for people: a line when that changed, with the time that is left at this pace."""

    def __init__(self) -> None:
        self._began, self._said = time.monotonic(), ""
        self._before: int | None = None
        """Cells that were done when it began."""

    def __call__(self, standings: Standings) -> None:
        """Say how they stand now."""
        found = Counter(one.status for one in standings.values())
        if self._before is None:
            self._before = found["done"]
        text = ", ".join(f"{number} {status}" for status, number in sorted(found.items()))
        if text == self._said:
            return
        self._said = text
        ended, left = found["done"] - self._before, found["waiting"] + found["running"] + found["stopped"]
        pace = (time.monotonic() - self._began) / ended if ended else None
        note(text + (f"; about {duration(pace * left)} left" if pace is not None and left else ""))


def dry(sweep: Sweep, file: Path, folder: SweepFolder, jobs: int, *, allow_plugins: bool = False) -> None:
    """Show the cells, what is done of them, and how many images are trained on. Raises InputError."""
    if sweep.search is not None:
        seeds = count(len(sweep.every_seed), "seed")
        say(f"{count(sweep.search.trials, 'trial')} by {sweep.search.method} search, {seeds} each, drawn as it goes")
        return
    cells = cells_of(sweep, recipe_of(sweep, file), Known(), allow_plugins=allow_plugins)
    rows, images, shared, counted = [], 0, 0, set[str]()
    standings = {cell.name: folder.standing(cell.name) for cell in cells}
    for cell in cells:
        standing = standings[cell.name]
        new = [stage for stage, key in cell.stage_keys.items() if key not in counted]
        shared += len(cell.stage_keys) - len(new)
        counted |= set(cell.stage_keys.values())
        own = images_to_train(cell.loaded.recipe, new) if standing.status != "done" else 0
        images += own
        rows.append([cell.label, str(cell.seed), f"{own:,}", standing.status])
    print_table(["cell", "seed", "images to train on", "status"], rows, right={"seed", "images to train on"})
    say()
    say(f"{count(len(cells), 'cell')}, {images:,} images to train on; {count(shared, 'stage')} taken from other cells")
    pace = _pace(cells, standings)
    if pace:
        say(f"about {duration(images * pace / jobs)} with --jobs {jobs}, at the pace of the cells that are done")


def _pace(cells: list[Cell], standings: Standings) -> float | None:
    """Seconds per image of the cells that are done."""
    found = [(standings[cell.name], cell) for cell in cells]
    done = [(one.seconds, cell.loaded.recipe) for one, cell in found if one.status == "done" and one.seconds]
    images = sum(images_to_train(recipe, [stage.name for stage in recipe.stages]) for _, recipe in done)
    return sum(seconds for seconds, _ in done) / images if images else None
