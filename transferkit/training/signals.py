"""SIGTERM and Ctrl-C set a flag; the loops look at it, finish the step and save. A second one ends at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignal:
    """Whether someone asked the run to stop, and by which signal."""

    def __init__(self) -> None:
        self.number = 0

    def __bool__(self) -> bool:
        return self.number != 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number

    @contextmanager
    def watching(self) -> Iterator[StopSignal]:
        """Listen while inside; only in the main thread, where Python delivers signals."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {number: signal.signal(number, self._receive) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class Interrupting(StopSignal):
    """For work that has no loop of ours to look at the flag: the first signal raises KeyboardInterrupt at once."""

    def _receive(self, number: int, frame: FrameType | None) -> None:
        super()._receive(number, frame)
        raise KeyboardInterrupt
