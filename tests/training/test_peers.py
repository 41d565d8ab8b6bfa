"""Two processes (gloo, CPU), of which one dies or hangs: the other says so in one sentence and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

DRIVER = """\
import os, sys, time
from transferkit.training import peers
peers.SILENCE = 4.0
from transferkit.training.trainer import Trainer
whole = Trainer.end_step
def slow(self, *arguments):
    whole(self, *arguments)
    with open(os.path.join(sys.argv[-1], "rank-" + os.environ["RANK"]), "w") as file:
        file.write(str(os.getpid()))
    time.sleep(0.05)
Trainer.end_step = slow
from transferkit.cli import main
main(sys.argv[1:-1])
"""


@pytest.mark.parametrize(
    ("number", "rank", "words"),
    [
        (signal.SIGKILL, 0, "rank 0 of 2.* ended without a word"),
        (signal.SIGSTOP, 1, r"rank 1 of 2 \(process \d+ on .*\) has not been heard of for \d+ s"),
    ],
    ids=["killed", "hung"],
)
def test_a_lost_process_is_named(recipe_file, tmp_path: Path, number: int, rank: int, words: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "driver.py").write_text(DRIVER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command += [str(tmp_path / "driver.py"), "run", str(recipe_file(epochs=1000)), "--out", str(tmp_path / "runs")]
    environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    said = tmp_path / "said"
    with said.open("w") as file:
        launched = subprocess.Popen([*command, "--quiet", str(tmp_path)], stdout=file, stderr=file, env=environment)
    pids: list[int] = []
    try:
        deadline = time.monotonic() + 120
        ready = [tmp_path / f"rank-{each}" for each in (0, 1)]
        while not all(path.is_file() and path.read_text() for path in ready):
            assert launched.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        pids = [int(path.read_text()) for path in ready]
        os.kill(pids[rank], number)
        began = time.monotonic()
        while _lives(pids[1 - rank]):
            assert time.monotonic() - began < 30, said.read_text()
            time.sleep(0.05)
        if number == signal.SIGSTOP:  # torchrun waits half a minute for it
            os.kill(pids[rank], signal.SIGKILL)
        assert launched.wait(40) == 1
    finally:
        launched.kill()
        for pid in filter(_lives, pids):
            os.kill(pid, signal.SIGKILL)
    text = said.read_text()  # torchrun adds a traceback of its own
    assert len(re.findall(words, text)) == 1, text
    assert "training/" not in text and "gloo" not in text, text
    assert text.count("go on with: transferkit resume") == 1
    (run_dir,) = (tmp_path / "runs" / "tiny").iterdir()
    result = json.loads((run_dir / "result.json").read_text())
    assert result["status"] == "failed" and re.match(words, result["error"])


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
