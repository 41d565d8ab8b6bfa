"""The whole run, made once per process, and the record of what came of every fault."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.attacks import Publishing, counted, die
from tests.faults.world import forked, outcome, run_folder, write_recipe


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", choices=("sample", "all"), default="sample", help="how many of the faults are tried")
    parser.addoption("--outcomes", type=Path, default=None, help="add what came of them to this JSON-lines file")


class World:
    """The attacked recipe, what its run comes to, and how many changes on disk it makes."""

    def __init__(self, folder: Path, everything: bool) -> None:
        import matplotlib.pyplot  # noqa: F401  (what a run imports must be there before the first fork)
        import torch
        import torch.utils.tensorboard

        import transferkit.analysis.run_analyses
        import transferkit.api
        import transferkit.runs.runner
        import transferkit.training.prepare  # noqa: F401

        torch.set_num_threads(1)
        self.folder, self.everything = folder, everything
        self.recipe = write_recipe(folder)
        self.log = folder / "log.txt"
        out = folder / "whole"
        ended = forked(["run", str(self.recipe), "--out", str(out), "--quiet"], self.log, counted(out, folder / "n"))
        assert ended.code == 0, ended.said
        self.changes = int((folder / "n").read_text())
        self.run = run_folder(out)
        assert self.run is not None
        self.whole: dict[str, Any] = outcome(self.run)

    def chosen(self, count: int, part: int, parts: int, sample: int) -> list[int]:
        """Of the numbers 1 … count those of one part: all of them, or about `sample` over all parts."""
        step = 1 if self.everything else max(1, count // sample)
        return list(range(1 + part * step, count + 1, parts * step))


@pytest.fixture(scope="session")
def everything(request: pytest.FixtureRequest) -> bool:
    """Whether all faults are tried: `--faults all`, which exists only where tests/faults was asked for by name."""
    return request.config.getoption("--faults", "sample") == "all"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, everything: bool) -> World:
    """Made once per process."""
    os.environ["OMP_NUM_THREADS"] = "1"
    return World(tmp_path_factory.mktemp("world"), everything)


@pytest.fixture(scope="session")
def stopped(world: World) -> Path:
    """A run killed in the middle of its second stage, with two checkpoints."""
    out = world.folder / "stopped"
    command = ["run", str(world.recipe), "--out", str(out), "--quiet"]
    ended = forked(command, world.log, Publishing(out, 3, die).install)
    run = run_folder(out)
    assert ended.code == -9 and run is not None, ended.said
    assert len(list(run.glob("stages/target/checkpoints/step-*"))) == 2
    return run


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """note(fault, outcome): one more for the table. It is written down at once: hours may be cut short."""
    path = request.config.getoption("--outcomes", None)

    def add(fault: str, came_of_it: str) -> None:
        if path is not None:
            with path.open("a") as file:
                file.write(json.dumps({"fault": fault, "outcome": came_of_it, "times": 1}) + "\n")

    return add
