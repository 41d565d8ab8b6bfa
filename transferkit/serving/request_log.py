"""One JSON line per answered image, for `transferkit detect --summary`: what was said, never what was sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from transferkit.errors import InputError
from transferkit.report import json_text
from transferkit.serving.schema import Prediction


class RequestLog:
    """Appends lines from a thread of its own, so that a slow disk delays no answer.

    Raises InputError where the file cannot be opened. Later trouble is counted by `failed(lines)`; nobody waits for it.
    """

    def __init__(self, path: Path, failed: Callable[[int], None]) -> None:
        try:
            self._file: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(f"--log {path} cannot be written: {error.strerror}") from error
        self._failed = failed
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="request-log", daemon=True)
        self._thread.start()

    def write(self, model_id: str, answered: Prediction) -> None:
        """Note one answer; returns at once."""
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "model": model_id}
        entry |= answered.model_dump(by_alias=True, exclude={"name", "top"})
        self._lines.put(json_text(entry) + "\n")

    def close(self) -> None:
        """Return when every line is in the file."""
        self._lines.put(None)
        self._thread.join(timeout=10)
        self._file.close()

    def _write(self) -> None:
        line: str | None = ""
        while line is not None:
            lines = []
            while (line := self._lines.get()) is not None:
                lines.append(line)
                if self._lines.empty() or len(lines) == 1000:
                    break
            try:
                self._file.write("".join(lines))
                self._file.flush()
            except OSError:
                self._failed(len(lines))
