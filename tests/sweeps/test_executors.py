"""Cells run in processes, as Slurm jobs and on a Ray cluster that loses a node."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from transferkit.errors import InputError
from transferkit.sweeps.executors import executor

from .conftest import SWEEP, write_sweep

CODE = "import os, time; print('begun', os.environ['OMP_NUM_THREADS'], flush=True); time.sleep(60)"
SLEEP = [sys.executable, "-c", CODE]


def wait(job, seconds=60.0):
    limit = time.monotonic() + seconds
    while job.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    return job.poll()


def until(condition, seconds=60.0):
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)
    assert condition()


def test_local_cells_share_the_cores_and_end_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.sweeps.executors.cores", lambda: 8)
    here, log = executor("local", 3, {}, tmp_path), tmp_path / "log"
    job = here.start(SLEEP, log)
    until(lambda: log.exists() and "begun 2" in log.read_text())
    assert job.poll() is None
    job.stop()
    assert wait(job) == -15
    job.stop()  # it is gone already
    assert wait(here.start([sys.executable, "-c", "raise SystemExit(3)"], log)) == 3


def test_options_that_nobody_knows_are_refused(tmp_path):
    with pytest.raises(InputError, match='local has no option "gpu"'):
        executor("local", 1, {"gpu": "1"}, tmp_path)


@pytest.mark.parametrize("kind", ["ray", "slurm"])
def test_what_is_not_installed_is_said(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("transferkit.sweeps.executors.find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"pip install \"transferkit\[{kind}\]\""):
        executor(kind, 1, {}, tmp_path)


@pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed")
class TestSlurm:
    def test_jobs_run_and_end_when_asked(self, tmp_path):
        slurm, log = executor("slurm", 1, {"cluster": "local", "cpus_per_task": "3"}, tmp_path), tmp_path / "log"
        assert wait(slurm.start([sys.executable, "-c", "raise SystemExit(3)"], log)) == 3
        job = slurm.start(SLEEP, log)
        until(lambda: log.exists() and "begun 3" in log.read_text())
        job.stop()
        assert wait(job) == -1

    def test_options_that_submitit_does_not_take_are_said(self, tmp_path):
        with pytest.raises(InputError, match="submitit does not take"):
            executor("slurm", 1, {"cluster": "local", "no_such_thing": "1"}, tmp_path)

    def test_the_file_that_slurm_gets_asks_for_what_was_said(self, tmp_path, monkeypatch):
        from submitit.slurm.slurm import _make_sbatch_string

        text = _make_sbatch_string("x", tmp_path, partition="gpu", gpus_per_node=1, time=5, cpus_per_task=2)
        assert "#SBATCH --partition=gpu" in text and "#SBATCH --gpus-per-node=1" in text


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_a_ray_cluster_loses_a_node_and_the_table_is_whole(tmp_path):
    from ray.cluster_utils import Cluster

    file = write_sweep(tmp_path, SWEEP)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        command = [sys.executable, "-m", "transferkit", "sweep", str(file), "--out", str(tmp_path / "out")]
        options = ["--executor", "ray", "--jobs", "2", "--set", f"address={cluster.address}"]
        sweep = subprocess.Popen([*command, *options], env=os.environ | {"OMP_NUM_THREADS": "1"})
        until(lambda: len(list(tmp_path.glob("out/methods/cells/*/stages/source/checkpoints/step-*"))) > 1, 200)
        cluster.remove_node(second, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        assert sweep.wait(300) == 0
    finally:
        cluster.shutdown()
