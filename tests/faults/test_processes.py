"""One of two processes is killed: both end, and resumed as two they come to the weights of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.world import run_folder, write_recipe

TOLD = find_spec("transferkit.training.peers") is not None  # processes tell of each other
PATIENCE = 600  # seconds; on a quiet machine it takes ten


def two(*command: str) -> subprocess.Popen:
    """A transferkit command as two processes."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"),
            *("-m", "transferkit", *command, "--quiet"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Its exit code and what it said; whatever is left of it is killed."""
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, said


def rank(launcher: int, number: int) -> int | None:
    """The process of that rank, once there is one."""
    for found in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((found / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and f"RANK={number}\0" in "\0" + (found / "environ").read_text():
                return int(found.name)
        except (OSError, ValueError):
            continue
    return None


def weights(run: Path) -> dict[str, torch.Tensor]:
    found = {}
    for stage in ("source", "target"):
        tensors = load_file(run / "stages" / stage / "model" / "model.safetensors")
        found |= {f"{stage} {name}": tensor for name, tensor in tensors.items()}
    return found


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory) -> tuple[dict[str, torch.Tensor], float]:
    """The weights of a run that nobody disturbs, and how many seconds it trains."""
    out = tmp_path_factory.mktemp("whole")
    process = two("run", str(recipe), "--out", str(out))
    began = wait_for_training(process, out)
    code, said = ended(process)
    assert code == 0, said[-3000:]
    return weights(run_folder(out)), time.monotonic() - began


def wait_for_training(process: subprocess.Popen, out: Path) -> float:
    """Until there is a run; when that was."""
    end = time.monotonic() + PATIENCE
    while run_folder(out) is None and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    return time.monotonic()


@pytest.mark.parametrize("victim", [0, 1])
def test_one_of_two_is_killed(recipe, whole, everything, note, tmp_path, victim) -> None:
    expected, seconds = whole
    rng = random.Random(victim)
    wrong = []
    for attempt in range(5 if everything else 1):
        out = tmp_path / str(attempt)
        process = two("run", str(recipe), "--out", str(out))
        wait_for_training(process, out)
        time.sleep(rng.uniform(0.1, 0.8) * seconds)
        killed = rank(process.pid, victim)
        if killed is not None:
            os.kill(killed, signal.SIGKILL)
        code, said = ended(process)
        run = run_folder(out)
        if code == 0 or run is None:
            note("SIGKILL of one of two processes", "was through before")
            continue
        result = run / "result.json"
        status = json.loads(result.read_text()).get("status") if result.is_file() else None
        code, said = ended(two("resume", str(run)))
        found = weights(run) if code == 0 else {}
        same = found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
        note("SIGKILL of one of two processes", "resumed bit for bit" if same else "WRONG")
        if status == "running" and TOLD:
            wrong.append(f"attempt {attempt}: the run was over, and its status {status}")
        if not same:
            wrong.append(f"attempt {attempt}, status {status}: resume ended with {code}: {said[:3000]}")
        shutil.rmtree(out)
    assert not wrong, "\n".join(wrong)
