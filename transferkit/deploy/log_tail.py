"""What is new in a log that is being written: only whole lines, each once, across rotation and restarts."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from transferkit.errors import InputError

HEAD = 256  # bytes at the start of a file by which it is known again
LONGEST = 1 << 20  # bytes of a line; what is longer is no answer
ROTATED = re.compile(r"[.-]\d[\d.T_-]*")  # what stands behind the name of a log that was put aside: .1, -20261130


class LogTail:
    """Reads a log from where it was left. Between calls the file may grow, be renamed and begun anew, or be emptied.

    `lost`: how often the file that was being read was nowhere to be found, so that its last lines were not read.
    """

    def __init__(self, path: Path, left: dict[str, Any] | None = None) -> None:
        self.path = path
        self.lost = 0
        self.left: dict[str, Any] = left or {"offset": 0, "head": 0, "sha256": _digest(b"")}
        """Where it is after the latest `lines`, for another to go on from."""
        self._file: BinaryIO | None = None
        self._offset = 0

    def lines(self, *, to_the_end: bool = False) -> Iterator[str]:
        """Every whole line that was not read yet; `to_the_end` also a last one without a line end.

        Raises InputError where there is no such file, or it cannot be read.
        """
        try:
            if self._file is not None and self._replaced(self._file):
                yield from self._whole_lines(self._file, to_the_end=True)
                self.close()
            if self._file is None:
                for path, offset in self._unread():
                    file = self._take(path, offset)
                    yield from self._whole_lines(file, to_the_end=to_the_end or path != self.path)
            else:
                if not _goes_on(self._file, self.left):
                    self._offset = 0  # emptied, and written anew
                yield from self._whole_lines(self._file, to_the_end=to_the_end)
            self._mark()
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def close(self) -> None:
        """Let go of the file; what was read of it stays read."""
        if self._file is not None:
            self._mark()
            self._file.close()
            self._file = None

    def _mark(self) -> None:
        if self._file is not None:
            length = min(HEAD, self._offset)
            self._file.seek(0)
            self.left = {"offset": self._offset, "head": length, "sha256": _digest(self._file.read(length))}

    def _unread(self) -> list[tuple[Path, int]]:
        """Files and where to begin in each: the one that was left, those that came after it, the log itself last."""
        if not self.left["offset"]:
            return [(self.path, 0)]
        aside = (
            one
            for one in self.path.parent.iterdir()
            if one.name.startswith(self.path.name) and ROTATED.fullmatch(one.name[len(self.path.name) :])
        )
        files = [*sorted(aside, key=lambda one: one.stat().st_mtime), self.path]
        for place in reversed(range(len(files))):
            with files[place].open("rb") as file:
                if _goes_on(file, self.left):
                    return [(files[place], self.left["offset"]), *((one, 0) for one in files[place + 1 :])]
        self.lost += 1
        return [(self.path, 0)]

    def _take(self, path: Path, offset: int) -> BinaryIO:
        file = path.open("rb")
        if self._file is not None:
            self._file.close()
        self._file, self._offset = file, offset
        return file

    def _replaced(self, file: BinaryIO) -> bool:
        """Whether another file has the log's name now, and something was written into it: the old one is done."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        return not os.path.samestat(now, os.fstat(file.fileno())) and now.st_size > 0

    def _whole_lines(self, file: BinaryIO, *, to_the_end: bool) -> Iterator[str]:
        file.seek(self._offset)
        while line := file.readline(LONGEST):
            if not line.endswith(b"\n") and len(line) < LONGEST and not to_the_end:
                return
            self._offset += len(line)
            yield line.decode("utf-8", "replace")


def _goes_on(file: BinaryIO, left: dict[str, Any]) -> bool:
    """Whether it is the file that was left there."""
    if os.fstat(file.fileno()).st_size < left["offset"]:
        return False
    file.seek(0)
    return bool(_digest(file.read(left["head"])) == left["sha256"])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
