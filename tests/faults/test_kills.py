"""A run that is killed goes on to the same bits: before any change on disk, and at any moment."""

from __future__ import annotations

import random
import shutil
import time

import pytest

from tests.faults.attacks import at, die
from tests.faults.world import difference, forked, run_folder

PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
def test_before_any_change_on_disk(world, note, tmp_path, part) -> None:
    wrong = []
    for number in world.chosen(world.changes, part, PARTS, sample=32):
        out = tmp_path / str(number)
        forked(["run", str(world.recipe), "--out", str(out), "--quiet"], world.log, at(out, number, die))
        run = run_folder(out)
        if run is None:
            note("SIGKILL before a change on disk", "nothing had begun")
            continue
        ended = forked(["resume", str(run), "--quiet"], world.log)
        lost = difference(run, world.whole) if ended.code == 0 else f"resume ended with {ended.code}: {ended.said}"
        note("SIGKILL before a change on disk", "resumed bit for bit" if lost is None else f"WRONG: {lost[:80]}")
        if lost is not None:
            wrong.append(f"before change {number}: {lost}")
        shutil.rmtree(out)
    assert not wrong


@pytest.mark.parametrize("part", range(PARTS))
def test_at_any_moment_again_and_again(world, note, tmp_path, part) -> None:
    """Until it is through: each attempt is killed at a moment drawn anew, later ones later."""
    rng = random.Random(part)
    wrong = []
    for attempt in range(13 if world.everything else 2):
        out = tmp_path / str(attempt)
        began = time.monotonic()
        command, kills = ["run", str(world.recipe), "--out", str(out), "--quiet"], 0
        while True:
            patience = None if kills == 4 else rng.uniform(0.2, 2.0 * (kills + 1))
            ended = forked(command, world.log, after=patience)
            run = run_folder(out)
            if ended.code == -9:
                kills += 1
                command = ["resume", str(run), "--quiet"] if run is not None else command
                continue
            break
        assert run is not None, ended.said
        lost = difference(run, world.whole) if ended.code == 0 else f"ended with {ended.code}: {ended.said}"
        note("SIGKILL at a random moment", "resumed bit for bit" if lost is None else f"WRONG: {lost[:80]}")
        if lost is not None:
            wrong.append(f"attempt {attempt}, {kills} kills in {time.monotonic() - began:.0f} s: {lost}")
        shutil.rmtree(out)
    assert not wrong
