"""What a process costs, whatever else the machine does."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path


def cpu_seconds(code: str, *arguments: str, folder: Path, path: Path | None = None, enough: float = 0.0) -> float:
    """What a process of its own costs, with the bytecode that an installed package has.

    The first that is below `enough`, or the least of five, because what else the machine does empties its caches.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    least = float("inf")
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", code, *arguments]
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if least < enough:
            break
    return least
