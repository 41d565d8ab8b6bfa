"""What is done to a run in a child process: kills and exceptions at a chosen file boundary."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


class Boundary:
    """Counts the changes that this process makes under a folder, and acts just before one of them."""

    def __init__(self, root: Path, number: int | None, act: Callable[[], None], *, lasting: bool = False) -> None:
        self.root, self.number, self.act, self.lasting = os.fspath(root), number, act, lasting
        self.count = 0

    def install(self) -> None:
        """From now on; there is no way back, so only in a child that ends."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_change(event, arguments):
            return
        self.count += 1
        if self.number is not None and (self.count == self.number or (self.lasting and self.count > self.number)):
            self.act()

    def _is_change(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            return isinstance(flags, int) and bool(flags & WRITING) and self._is_ours(path)
        # a path relative to an open folder is shutil.rmtree's
        return event in CHANGES and (self._is_ours(arguments[0]) or not os.path.isabs(os.fspath(arguments[0])))

    def _is_ours(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root)  # type: ignore[arg-type]


class Publishing(Boundary):
    """Counts the target stage's checkpoints that get their names."""

    def _is_change(self, event: str, arguments: tuple[Any, ...]) -> bool:
        return event == "os.rename" and "stages/target/checkpoints/step-" in os.fspath(arguments[1])


def die() -> None:
    """As a machine that loses power."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number: int) -> Callable[[], None]:
    """An operating system that says no: `errno`."""

    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


def counted(root: Path, into: Path) -> Callable[[], None]:
    """Write down, at the end of the child, how many changes there were."""

    def before() -> None:
        boundary = Boundary(root, None, lambda: None)
        boundary.install()
        leave = os._exit

        def written(code: int) -> None:
            into.write_text(str(boundary.count))
            leave(code)

        os._exit = written  # type: ignore[assignment]

    return before


def at(root: Path, number: int, act: Callable[[], None], *, lasting: bool = False) -> Callable[[], None]:
    """Do it before change number `number`; `lasting`: and before every later one."""
    return lambda: Boundary(root, number, act, lasting=lasting).install()
