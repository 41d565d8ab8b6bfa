"""File systems of this process alone: they end with it, and nobody else sees them. For root on Linux."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEW_MOUNTS = 0x00020000  # CLONE_NEWNS of <sched.h>
PRIVATE, ALL_BELOW = 1 << 18, 1 << 14  # MS_PRIVATE, MS_REC of <sys/mount.h>


def own() -> str | None:
    """From now on this process' mounts are its own; why they cannot be, else None."""
    if os.geteuid() != 0:
        return "only root can mount"
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.unshare(NEW_MOUNTS) or libc.mount(b"none", b"/", None, PRIVATE | ALL_BELOW, None)
    except (OSError, AttributeError) as error:
        return f"no mounts of its own here: {error}"
    return f"no mounts of its own here: {os.strerror(ctypes.get_errno())}" if failed else None


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder can be read and not written, by root neither."""
    _mount("--bind", folder, folder)
    try:
        _mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        _unmount(folder)


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """The folder, made anew, is a disk of that size."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder)
    try:
        yield
    finally:
        _unmount(folder)


def grow(folder: Path, kilobytes: int) -> None:
    """Somebody makes room."""
    _mount("-o", f"remount,size={kilobytes}k", folder)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
