"""A signal at any moment of any verb: a sentence, its exit code, no parts of files; a run goes on to the same bits."""

from __future__ import annotations

import json
import os
import pty
import random
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults.world import Ended, difference, forked, run_folder

NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
FIRST = 0.05  # seconds in which the command line begins to listen


def later(seconds: float, number: int) -> Callable[[], None]:
    """In the child: send itself the signal after so many seconds."""

    def fire() -> None:
        time.sleep(max(FIRST, seconds))
        os.kill(os.getpid(), number)

    return lambda: threading.Thread(target=fire, daemon=True).start()


def came_of(ended: Ended, number: int, fine: int) -> str:
    """How a verb ended that was sent a signal; `fine` is its exit code when nobody sends one."""
    if ended.crashed:
        return "traceback"
    if ended.code == 128 + number:
        return "a sentence" if ended.said.strip() else "WRONG: without a word"
    return "was through before" if ended.code == fine else f"WRONG: ended with {ended.code}"


@pytest.fixture(scope="module")
def place(world, tmp_path_factory) -> Path:
    """A copy of the finished run, and images of its classes."""
    folder = tmp_path_factory.mktemp("signals")
    shutil.copytree(world.run, folder / "run")
    rng = np.random.default_rng(0)
    for name in ("sign", "wheel"):
        (folder / "images" / name).mkdir(parents=True)
        for index in range(8):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{index}.png")
    return folder


def spoken(verb: str, world, place: Path) -> list[str]:
    """The command line of a verb."""
    run, images = str(place / "run"), str(place / "images")
    return {
        "plan": ["plan", str(world.recipe)],
        "doctor": ["doctor", str(world.recipe)],
        "predict": ["predict", run, images, "--out", str(place / "answers.csv")],
        "explain": ["explain", run, images, "--out", str(place / "explained")],
        "evaluate": ["evaluate", run, "--data", images],
        "export": ["export", run, "--format", "pt2"],
        "audit": ["audit", run, "--analyses", "retention", "--out", str(place / "audits"), "--quiet"],
        "compare": ["compare", run, "--json"],
        "replay": ["replay", run, "--stage", "target", "--step", "2"],
        "schema": ["schema"],
    }[verb]


VERBS = ["plan", "doctor", "predict", "explain", "evaluate", "export", "audit", "compare", "replay", "schema"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_signal_in_a_verb(world, place, note, verb) -> None:
    rng, wrong = random.Random(verb), []
    began = time.monotonic()
    fine = forked(spoken(verb, world, place), world.log)
    whole = time.monotonic() - began
    assert not fine.crashed and fine.code in (0, 2), fine.said
    for number in NUMBERS * (5 if world.everything else 1):
        seconds = rng.uniform(0, whole)
        ended = forked(spoken(verb, world, place), world.log, later(seconds, number))
        came = came_of(ended, number, fine.code)
        parts = [path.name for path in place.rglob(".tmp-*")]
        came = f"WRONG: left {parts[0]}" if parts and not came.startswith("WRONG") else came
        note("signal in a verb", came)
        if came.startswith(("WRONG", "traceback")):
            wrong.append(f"{number} after {seconds:.2f} of {whole:.2f} s: {came}: {ended.said[-2000:]}")
        for path in place.rglob(".tmp-*"):
            shutil.rmtree(path, ignore_errors=True)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_in_a_run(world, note, tmp_path, number) -> None:
    rng, wrong = random.Random(int(number)), []
    for attempt in range(15 if world.everything else 3):
        out, seconds = tmp_path / str(attempt), rng.uniform(0, 4)
        command = ["run", str(world.recipe), "--out", str(out), "--quiet"]
        ended = forked(command, world.log, later(seconds, number))
        came, run = came_of(ended, number, 0), run_folder(out)
        if came == "a sentence" and run is None:
            came += ", nothing had begun"
        elif came == "a sentence":
            status = json.loads((run / "result.json").read_text())["status"]
            again = forked(["resume", str(run), "--quiet"], world.log)
            lost = difference(run, world.whole) if again.code == 0 else f"resume ended with {again.code}: {again.said}"
            lost = lost or (f"its status was {status}" if status not in ("stopped", "running") else None)
            came = f"WRONG: {lost}" if lost else "a sentence, resumed bit for bit"
        note("signal in a run", came.partition(":")[0] if came.startswith("WRONG") else came)
        if came.startswith(("WRONG", "traceback")):
            wrong.append(f"after {seconds:.2f} s: {came}: {ended.said[-2000:]}")
        shutil.rmtree(out, ignore_errors=True)
    assert not wrong, "\n".join(wrong)


def test_a_terminal_that_closes(world, note, tmp_path) -> None:
    """It takes no more words from then on, and the run is stopped as by any other signal."""
    out = tmp_path / "out"
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        command = [sys.executable, "-m", "transferkit", "run", str(world.recipe), "--out", str(out)]
        os.execv(sys.executable, command)
    end = time.monotonic() + 300
    while not _checkpoints(out):
        if select.select([terminal], [], [], 0.1)[0]:
            os.read(terminal, 1 << 16)
        assert time.monotonic() < end
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    run = run_folder(out)
    assert run is not None
    status = json.loads((run / "result.json").read_text())["status"]
    again = forked(["resume", str(run), "--quiet"], world.log)
    lost = difference(run, world.whole) if again.code == 0 else f"resume ended with {again.code}: {again.said}"
    right = (code, status, lost) in ((129, "stopped", None), (0, "done", None))
    note("terminal that closes", "stopped, resumed bit for bit" if right else "WRONG")
    assert right, (code, status, lost)


def _checkpoints(out: Path) -> bool:
    run = run_folder(out)
    return run is not None and any(run.glob("stages/source/checkpoints/step-*"))
