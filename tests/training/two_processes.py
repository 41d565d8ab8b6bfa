"""A run in two processes of one group: children of the test's, which has imported all that they need."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from transferkit.plugins.registry import installed

PATIENCE = 300.0  # seconds


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def in_two_processes(recipe: Path, out: Path, *overrides: str, plugins: Path | None = None) -> Any:
    """What `run --json` prints. `plugins` is a folder with installed distributions that only these processes know.

    What torchrun does beside starting them with these variables is tested with torchrun: see test_distributed.py.
    """
    out.mkdir(parents=True, exist_ok=True)
    command = ["run", str(recipe), *overrides, "--out", str(out), "--json", "--quiet"]
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    sys.stdout.flush()
    sys.stderr.flush()
    children = []
    for rank in map(str, range(2)):
        child = os.fork()
        if child == 0:
            _command(command, out, group | {"RANK": rank, "LOCAL_RANK": rank}, plugins)
        children.append(child)
    hangs = threading.Timer(PATIENCE, lambda: [os.kill(child, signal.SIGKILL) for child in children])
    hangs.start()
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    hangs.cancel()
    assert codes == [0, 0], "\n".join(path.read_text() for path in sorted(out.glob("stderr-*")))
    return json.loads((out / "stdout-0").read_text())


def _command(command: list[str], out: Path, variables: dict[str, str], plugins: Path | None) -> None:
    """In a child: never returns."""
    code = 70
    try:
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(out / f"{name}-{variables['RANK']}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
            setattr(sys, name, os.fdopen(number, "w", buffering=1, closefd=False))
        os.environ.clear()
        os.environ.update(variables, OMP_NUM_THREADS="1", PATH="/usr/bin:/bin", HOME=str(out))
        if plugins is not None:
            sys.path.insert(0, str(plugins))
            installed.cache_clear()
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state=True)  # the test's own process may have been one alone
        GradientState._reset_state()
        from transferkit.cli import main

        try:
            main(command)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
