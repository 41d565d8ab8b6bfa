"""A disk that says no at any change, once or from then on: a sentence or a warning, and the run goes on exactly."""

from __future__ import annotations

import errno
import shutil

import pytest

from tests.faults.attacks import at, fail
from tests.faults.world import difference, forked, run_folder

PARTS = 4
ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "failing": errno.EIO, "over quota": errno.EDQUOT}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("name", ["full", "read-only", "failing", "over quota"])
def test_a_disk_that_says_no(world, note, tmp_path, name, lasting, part) -> None:
    fault = f"disk {name} {'from a change on' if lasting else 'at one change'}"
    wrong = []
    for number in world.chosen(world.changes, part, PARTS, sample=5):
        out = tmp_path / str(number)
        attack = at(out, number, fail(ERRORS[name]), lasting=lasting)
        ended = forked(["run", str(world.recipe), "--out", str(out), "--quiet"], world.log, attack)
        run = run_folder(out)
        went = ended.code == 0
        said = None if went or ended.sentence else f"ended with {ended.code}: {ended.said[-1500:]}"
        if said is None and run is not None:
            again = None if went else forked(["resume", str(run), "--quiet"], world.log)
            lost = difference(run, world.whole) if again is None or again.code == 0 else f"resume: {again.said[-900:]}"
            said = lost
        end = (
            "went on" if went else "a sentence, nothing had begun" if run is None else "a sentence, resumed bit for bit"
        )
        note(fault, end if said is None else "WRONG")
        if said is not None:
            wrong.append(f"at change {number}: {said}")
        shutil.rmtree(out, ignore_errors=True)
    assert not wrong, "\n".join(wrong)
