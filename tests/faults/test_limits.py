"""Limits of the operating system: a sentence or none at all, and afterwards the run goes on to the same bits."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.mounts import grow, own, read_only, small_disk
from tests.faults.world import Ended, difference, forked, run_folder

MIB = 1 << 20
RUST = "memory allocation of "  # what a library in Rust says before it aborts


def limited(which: int, amount: int):
    """Set a limit in the child."""
    return lambda: resource.setrlimit(which, (amount, amount))


def few_files(spare: int):
    """As many files may be opened as are open, and `spare` more."""

    def before() -> None:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare,) * 2)

    return before


def little_memory(spare: int):
    """The address space may grow by `spare` bytes."""

    def before() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare,) * 2)

    return before


def judged(world, out: Path, ended: Ended) -> tuple[str, str | None]:
    """What came of it, and what is wrong with that, after the run was resumed without the limit."""
    run = run_folder(out)
    if ended.code == 0:
        lost = None if run is not None and (run / "result.json").is_file() else "exit code 0 without a result"
        lost = lost or difference(run, world.whole)
        return ("went on" if lost is None else "WRONG"), lost
    # nothing in Python is asked: it must be as good as a kill
    if ended.code == -signal.SIGSEGV or (ended.code < 0 and RUST in ended.said):
        return resumed(world, run, "ended by a library")
    if not ended.sentence:
        return "traceback", f"ended with {ended.code}: {ended.said[-1500:]}"
    return resumed(world, run, "a sentence")


def resumed(world, run: Path | None, how: str) -> tuple[str, str | None]:
    """As `judged`, for what did not come to its end."""
    if run is None:
        return f"{how}, nothing had begun", None
    again = forked(["resume", str(run), "--quiet"], world.log)
    lost = difference(run, world.whole) if again.code == 0 else f"resume ended with {again.code}: {again.said[-900:]}"
    return (f"{how}, resumed bit for bit" if lost is None else "WRONG"), lost


LIMITS = {
    **{("RLIMIT_FSIZE", size): limited(resource.RLIMIT_FSIZE, size) for size in (1000, 3000, 50_000, 2_000_000)},
    **{("RLIMIT_NOFILE", spare): few_files(spare) for spare in (0, 1, 3, 8)},
    **{("RLIMIT_AS", spare): little_memory(spare * MIB) for spare in (0, 4, 16, 64)},
}


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit[0]} {limit[1]}")
def test_a_limit_of_the_process(world, note, tmp_path, limit) -> None:
    out = tmp_path / "out"
    ended = forked(["run", str(world.recipe), "--out", str(out), "--quiet"], world.log, LIMITS[limit])
    came, wrong = judged(world, out, ended)
    note(limit[0], came)
    assert wrong is None, wrong


@pytest.mark.parametrize("mebibytes", [400, 4000])
def test_a_limit_of_memory_from_the_start(world, note, tmp_path, mebibytes) -> None:
    """With 400 MiB torch does not even load."""
    out, size = tmp_path / "out", mebibytes * MIB
    done = subprocess.run(
        [sys.executable, "-m", "transferkit", "run", str(world.recipe), "--out", str(out), "--quiet"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
    )
    came, wrong = judged(world, out, Ended(done.returncode, done.stderr))
    note("RLIMIT_AS", came)
    assert wrong is None, wrong


@pytest.fixture(scope="session")
def mounts() -> None:
    """Mounts that are this process' own."""
    if shutil.which("mount") is None:
        pytest.skip("no mount command")
    if (reason := own()) is not None:
        pytest.skip(reason)


def test_a_run_folder_that_cannot_be_written(world, mounts, note, stopped, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    with read_only(run):
        refused = forked(["resume", str(run), "--quiet"], world.log)
    assert refused.code != 0 and refused.sentence, refused.said
    went = forked(["resume", str(run), "--quiet"], world.log)
    lost = difference(run, world.whole) if went.code == 0 else went.said
    note("read-only folder", "a sentence, resumed bit for bit" if lost is None else "WRONG")
    assert lost is None, lost


def test_a_folder_for_runs_that_cannot_be_written(world, mounts, note, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with read_only(out):
        ended = forked(["run", str(world.recipe), "--out", str(out), "--quiet"], world.log)
    assert not list(out.iterdir())
    note("read-only folder", "a sentence, nothing had begun" if ended.code and ended.sentence else "traceback")
    assert ended.code != 0 and ended.sentence, ended.said


@pytest.mark.parametrize("kilobytes", [8, 500, 4000, 9000, 13000])
def test_a_disk_that_is_full(world, mounts, note, tmp_path, kilobytes) -> None:
    """A real one: what is freed by deleting an older checkpoint is there for the next."""
    out = tmp_path / "out"
    with small_disk(out, kilobytes):
        ended = forked(["run", str(world.recipe), "--out", str(out), "--quiet"], world.log)
        grow(out, 100_000)
        came, wrong = judged(world, out, ended)
    note("full disk", came)
    assert wrong is None, wrong
