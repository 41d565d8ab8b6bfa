"""The standard streams of this process: they may be closed, fail, or know too few characters; and who may use them."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

from transferkit.errors import StorageError

ESCAPES = "transferkit.escapes"
"""How streams write what their encoding lacks, as `errors`: in escapes that are right in JSON too."""


def _escapes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4)), error.end


codecs.register_error(ESCAPES, _escapes)


class Guarded:
    """A standard stream that may go: a terminal that closes, a pipe whose reader ends, a full disk behind `2>`.

    The first failure is given to `failed`, and what is written afterwards goes nowhere.
    """

    def __init__(self, stream: TextIO, failed: Callable[[OSError], object] = lambda error: None) -> None:
        self._stream, self._failed = stream, failed
        self.lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As the stream does."""
        with self._watched():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As the stream does."""
        with self._watched():
            self._stream.flush()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError, ValueError, AttributeError):  # what it holds would fail again when Python ends
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            self.lost = True
            self._failed(error)


def open_standard_streams() -> None:
    """Give a closed standard stream (`>&-`) an end that goes nowhere, before a file of a run takes its number."""
    while (nowhere := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(nowhere)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def answer_lost(error: OSError) -> None:
    """What a failed standard output means: a reader of a pipe may have had enough; else it raises StorageError."""
    if isinstance(error, BrokenPipeError):
        return
    raise StorageError(f"standard output could not be written: {error.strerror or error}") from error


def answers_only() -> AbstractContextManager[object]:
    """While work is done inside, what a plugin prints goes to standard error: standard output is for answers."""
    return redirect_stdout(sys.stderr)


def speaks() -> bool:
    """Whether this process prints answers and errors: torchrun numbers its processes, and the first one speaks."""
    return os.environ.get("RANK", "0") == "0"
