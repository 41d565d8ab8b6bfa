"""A sweep of a tiny recipe: two methods that share a first stage, two seeds, and cells that run in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = """
name: tiny
device: cpu
threads: 1
model: {name: transferkit_resnet20, preprocessing: {input_size: 8}}
datasets: {d: {folder: data}}
stages:
  - {name: source, dataset: d, start: scratch, epochs: 1, batch_size: 8, workers: 0}
  - {name: target, dataset: d, start: source, epochs: 2, batch_size: 8, workers: 0}
"""
SWEEP = """
name: methods
recipe: tiny.yaml
seeds: 2
variants:
  plain: {}
  rate: {stages.target.optimizer.lr: 0.5}
"""


def write_sweep(folder: Path, sweep: str = SWEEP, recipe: str = RECIPE) -> Path:
    """The sweep file, its recipe and 16 images of two classes."""
    for label, name in enumerate(("dark", "light") if not (folder / "data").exists() else ()):
        (folder / "data" / "train" / name).mkdir(parents=True, exist_ok=True)
        for number in range(8):
            pixels = np.random.default_rng([label, number]).integers(0, 120, (8, 8, 3)) + 120 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "data" / "train" / name / f"{number}.png")
    (folder / "tiny.yaml").write_text(recipe)
    (folder / "sweep.yaml").write_text(sweep)
    return folder / "sweep.yaml"


class Here:
    """An executor that runs a cell in this process, at once; `broken` cells fail in its place."""

    slots = 1

    def __init__(self, broken=()):
        self.commands, self.broken = [], set(broken)

    def start(self, command, log):
        from transferkit import api
        from transferkit.errors import TransferkitError

        run = Path(command[command.index("resume") + 1])
        self.commands.append(run.name)
        log.write_text("")
        try:
            if any(part in run.name for part in self.broken):
                raise TransferkitError("the machine was on fire")
            api.resume(run, quiet=True)
        except Exception as error:
            log.write_text(f"Error: {error}\ngo on with: something\n")
            return Ended(1)
        return Ended(0)

    def close(self):
        pass


class Ended:
    def __init__(self, code):
        self.code = code

    def poll(self):
        return self.code

    def stop(self):
        pass


@pytest.fixture
def drive():
    """A function that runs a sweep file with an executor: (folder, how its cells stand, what was said)."""
    from transferkit.surface import __version__
    from transferkit.sweeps.cells import Known, cells_of
    from transferkit.sweeps.driver import Driver
    from transferkit.sweeps.folder import SweepFolder
    from transferkit.sweeps.running import baseline
    from transferkit.sweeps.search import Sampler
    from transferkit.sweeps.spec import read_sweep, recipe_of
    from transferkit.system.signals import StopSignal

    def run(file, out, executor=None, retry=False):
        sweep, known, said = read_sweep(file), Known(), []
        folder, recipe = SweepFolder(out / sweep.name), recipe_of(sweep, file)
        cells = [] if sweep.search else cells_of(sweep, recipe, known)
        sampling = Sampler(sweep, recipe, folder, known, allow_plugins=False) if sweep.search else None
        facts = {"file": str(file), "baseline": baseline(sweep), "version": __version__}
        executor = executor or Here()
        driver = Driver(folder, cells, facts, executor, StopSignal(), said.append, sampling, retry=retry)
        folder.path.mkdir(parents=True, exist_ok=True)
        return folder, driver.run(lambda standings: None), executor, said

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a whole sweep, run once."""
    place = tmp_path_factory.mktemp("sweep")
    file = write_sweep(place)
    folder, standings, executor, said = drive.__wrapped__()(file, place / "out")
    return place, folder, standings, executor, said
