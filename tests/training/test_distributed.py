"""Two processes (gloo, CPU) train the same model as one, and count every sample once."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.test_loop import records, weights


def torchrun(recipe: Path, out: Path, *overrides: str, processes: int = 2) -> dict:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={port}"),
        *("-m", "transferkit", "run", str(recipe), *overrides, "--out", str(out), "--json", "--quiet"),
    ]
    environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(out)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "stage",
    [
        {"regularizers": [{"use": "l2", "weight": 0.01}], "clip": {"norm": 1.0}},
        {"accumulate": 2, "batch_size": 13, "unfreeze": {"every": 1}},
    ],
    ids=["l2 and clipping", "accumulation, odd batches, unfreezing"],
)
def test_two_processes_train_what_one_trains(recipe_file, run, tmp_path, stage) -> None:
    """Batch norm is in eval mode and nothing is augmented, so that only the sums' order differs."""
    common = {"batchnorm": "eval", "augmentation": {"none": True}} | stage
    one = run(**common)
    two = torchrun(recipe_file(**common), tmp_path / "two")
    run_dir = Path(two["run_dir"])
    for name, tensor in weights(one.run_dir).items():
        torch.testing.assert_close(weights(run_dir)[name], tensor, rtol=1e-4, atol=1e-5)
    assert [line["images"] for line in records(run_dir)] == [30, 30]
    assert [line["images"] for line in records(run_dir, "val")] == [12, 12]
    for ours, theirs in zip(records(one.run_dir), records(run_dir), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
        assert theirs["top1"] == pytest.approx(ours["top1"])
    assert two["stages"]["target"]["best"]["top1"] == pytest.approx(one.stages["target"]["best"]["top1"])
