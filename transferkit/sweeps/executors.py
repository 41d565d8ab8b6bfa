"""Where cells run: processes of this machine, tasks of a Ray cluster, or jobs of Slurm. All run one command.

A cell's command is `transferkit resume CELL`, which goes on from the newest checkpoint. So whoever starts it again, the
sweep, Ray after the loss of a node or Slurm after a requeue, loses the running steps at most.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from transferkit.errors import InputError
from transferkit.system.cores import cores
from transferkit.words.kinds import reason

Kind = Literal["local", "ray", "slurm"]
PATIENCE = 60.0  # seconds that a stopped cell has for its checkpoint


class Job(Protocol):
    """A cell that was started."""

    def poll(self) -> int | None:
        """The exit code of its command; None while it runs. -1 where nobody knows it."""

    def stop(self) -> None:
        """Ask it to end: it saves what it has."""


class Executor(Protocol):
    """Where cells run."""

    slots: int
    """How many at a time."""

    def start(self, command: Sequence[str], log: Path) -> Job:
        """Start a command whose words go into a file."""

    def close(self) -> None:
        """When the sweep ends."""


def executor(kind: Kind, jobs: int, options: Mapping[str, str], folder: Path) -> Executor:
    """The executor of that name. Raises InputError where what it needs is not installed."""
    needed = {"ray": "ray", "slurm": "submitit"}.get(kind)
    if needed is not None and find_spec(needed) is None:
        raise InputError(f'the executor {kind} needs {needed}: pip install "transferkit[{kind}]"')
    makers: dict[Kind, Callable[[int, Mapping[str, str], Path], Executor]]
    makers = {"local": _Local, "ray": _Ray, "slurm": _Slurm}
    return makers[kind](jobs, options, folder)


def environment(threads: int) -> dict[str, str]:
    """What a cell is told of the machine: how many threads are its share."""
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def run_command(command: Sequence[str], log: Path, more: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A command in a session of its own, so that a signal to the sweep is the sweep's to pass on."""
    with log.open("ab") as words:
        return subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True,
            env=os.environ | dict(more),
        )  # fmt: skip


class _Local:
    """Processes of this machine, each with an equal share of its cores as threads."""

    def __init__(self, jobs: int, options: Mapping[str, str], folder: Path) -> None:
        refuse_options("local", options, ())
        self.slots = jobs
        self.environment = environment(max(1, cores() // jobs))

    def start(self, command: Sequence[str], log: Path) -> Job:
        return _LocalJob(run_command(command, log, self.environment))

    def close(self) -> None:
        pass


class _LocalJob:
    """A process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)


class _Ray:
    """Tasks of a Ray cluster, which starts those of a lost node anew elsewhere; the disk is shared by all nodes.

    Options: `address` (default: a cluster that is there, or one on this machine), `num_cpus`, `num_gpus` per cell.
    """

    def __init__(self, jobs: int, options: Mapping[str, str], folder: Path) -> None:
        import ray

        refuse_options("ray", options, ("address", "num_cpus", "num_gpus"))
        self.ray, self.slots = ray, jobs
        self.own = not ray.is_initialized()
        if self.own:
            ray.init(address=options.get("address"), log_to_driver=False, include_dashboard=False)
        cpus = float(options.get("num_cpus", 1))
        self.task = ray.remote(num_cpus=cpus, num_gpus=float(options.get("num_gpus", 0)), max_retries=-1)(_run_to_end)
        self.environment = environment(max(1, int(cpus)))

    def start(self, command: Sequence[str], log: Path) -> Job:
        return _RayJob(self.ray, self.task.remote(list(command), str(log), self.environment))

    def close(self) -> None:
        if self.own:
            self.ray.shutdown()


class _RayJob:
    """A task of Ray."""

    def __init__(self, ray: Any, task: Any) -> None:
        self.ray, self.task = ray, task

    def poll(self) -> int | None:
        done, _ = self.ray.wait([self.task], timeout=0)
        if not done:
            return None
        try:
            return int(self.ray.get(self.task))
        except self.ray.exceptions.RayError:  # cancelled, or lost for good
            return -1

    def stop(self) -> None:
        self.ray.cancel(self.task)  # KeyboardInterrupt in the task, which passes it on


class _Slurm:
    """Jobs of Slurm, sent by submitit. Options are submitit's: `slurm_partition`, `timeout_min`, `gpus_per_node`, …;
    with a `cluster` that is local they are processes here, which is how a sweep is tried before it is sent.
    """

    def __init__(self, jobs: int, options: Mapping[str, str], folder: Path) -> None:
        import submitit

        given = dict(options)
        self.slots = jobs
        self.sender = submitit.AutoExecutor(folder=str(folder / "slurm"), cluster=given.pop("cluster", None))
        threads = int(given.setdefault("cpus_per_task", "1"))
        given.setdefault("name", folder.name)
        try:
            self.sender.update_parameters(**{name: _number(value) for name, value in given.items()})
        except (NameError, TypeError, ValueError) as error:
            raise InputError(f"submitit does not take these options: {reason(error)}") from None
        self.environment = environment(threads)

    def start(self, command: Sequence[str], log: Path) -> Job:
        return _SlurmJob(self.sender.submit(_run_to_end, list(command), str(log), self.environment))

    def close(self) -> None:
        pass


class _SlurmJob:
    """A job of Slurm."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def poll(self) -> int | None:
        if not self.job.done():
            return None
        try:
            return int(self.job.result())
        except Exception:  # cancelled, lost, or killed for its time: submitit raises what it found in the job's log
            return -1

    def stop(self) -> None:
        self.job.cancel()


def _run_to_end(command: Sequence[str], log: str, more: Mapping[str, str]) -> int:
    """In a worker: run the command, and end it as one ends who may save."""
    process = run_command(command, Path(log), more)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
        raise


def refuse_options(kind: str, options: Mapping[str, str], known: Sequence[str]) -> None:
    """Raise InputError for an option that an executor does not know."""
    for name in options:
        if name not in known:
            what = f"it takes {', '.join(known)}" if known else "it takes none"
            raise InputError(f'the executor {kind} has no option "{name}"; {what}')


def _number(value: str) -> str | int:
    return int(value) if value.isdigit() else value


def transferkit(*arguments: str) -> list[str]:
    """The command line of this very installation."""
    return [sys.executable, "-m", "transferkit", *arguments]
