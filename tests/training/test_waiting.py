"""A signal while training waits for a worker that hangs: it stops after the last whole step, and goes on exactly."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.training.test_loop import records, same, weights, without_time
from transferkit.api import execute, resume
from transferkit.data import file_sources
from transferkit.errors import Interrupted
from transferkit.recipe import load_recipe

# four batches of an epoch go to two workers in turn, 8 and 8 images to the first, 8 and 6 to the second
WHERE = {
    "for the first batch": (1, "stopped at step 0 of stage target"),
    "within an epoch": (9, "stopped at step 2 of stage target"),
    "after an epoch without a checkpoint": (17, "stopped at step 4 of stage target"),
}
STAGE = {"workers": 2, "checkpoints": {"every": 5, "keep": 2}, "evaluate_every": 2}


@pytest.mark.parametrize("where", WHERE)
def test_a_signal_while_waiting_for_a_worker(run, recipe_file, registry, tmp_path, monkeypatch, where) -> None:
    number, words = WHERE[where]
    whole = run(**STAGE)
    hangs, main, read = tmp_path / "hangs", os.getpid(), file_sources.ArrayImages.__call__
    seen = []  # of each worker its own

    def reading(self, index):
        if os.getpid() != main:
            seen.append(index)
        if len(seen) == number:
            hangs.touch()
            time.sleep(1000)
        return read(self, index)

    def watch() -> None:
        while not hangs.exists():
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(main, signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(file_sources.ArrayImages, "__call__", reading)
        threading.Thread(target=watch, daemon=True).start()
        with pytest.raises(Interrupted) as stopped:
            execute(load_recipe(recipe_file(**STAGE), registry=registry), out=tmp_path / "stopped", quiet=True)
    assert (str(stopped.value), stopped.value.exit_code) == (words, 143)
    assert time.time() - hangs.stat().st_mtime < 20
    (run_dir,) = Path(tmp_path / "stopped" / "tiny").iterdir()
    assert bool([*run_dir.glob("stages/target/checkpoints/step-*")]) == (number > 1)
    resumed = resume(run_dir, quiet=True)
    assert resumed.status == "done"
    assert same(weights(whole.run_dir), weights(resumed.run_dir))
    for split in ("train", "val"):
        assert without_time(records(whole.run_dir, split)) == without_time(records(resumed.run_dir, split))
