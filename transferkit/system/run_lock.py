"""A run belongs to one process at a time: a lock that dies with it, and its host and pid for people to see."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from transferkit.errors import InputError
from transferkit.report import write_json
from transferkit.system.atomic import read_json
from transferkit.system.memory import in_background

LOCK, OWNER = ".lock", ".owner.json"
BEAT = 15.0  # seconds between two signs of life
SILENT = 90.0  # seconds without one, after which an owner on another host counts as dead


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold a run's folder. Raises InputError while another process does, or where nothing can be written.

    Processes of this host are told apart by the file lock, which dies with its owner. Owners on other hosts that share
    the disk but no locks show by their heartbeat that they live.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(_in_use(folder)) from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from None
    try:
        owner = owner_of(folder)
        if owner is not None and owner.get("host") != socket.gethostname():
            raise InputError(_in_use(folder))
        with _beating(folder / OWNER):
            yield
    finally:
        lock.release()


def owner_of(folder: Path) -> dict[str, Any] | None:
    """`host`, `pid` and `since` of the process that works on a run, if it gave a sign of life lately."""
    try:
        silent = time.time() - (folder / OWNER).stat().st_mtime
        owner: dict[str, Any] | None = read_json(folder / OWNER) if silent < SILENT else None
        return owner
    except (OSError, InputError):
        return None


def _in_use(folder: Path) -> str:
    owner = owner_of(folder) or {}
    who = f"process {owner.get('pid', '?')} on {owner.get('host', 'an unknown host')}, since {owner.get('since', '?')}"
    return f"{folder} is in use by {who}: wait until it ends, or stop it"


@contextmanager
def _beating(path: Path) -> Iterator[None]:
    """Say who works here, and touch the file as long as that is so."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, {"host": socket.gethostname(), "pid": os.getpid(), "since": since})
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            with suppress(OSError):
                os.utime(path)

    in_background(beat)
    try:
        yield
    finally:
        over.set()
        with suppress(OSError):
            path.unlink(missing_ok=True)
