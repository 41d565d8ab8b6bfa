"""TensorBoard, where failing costs the curves and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any


class Board:
    """Numbers, texts and pictures in a folder for TensorBoard; begun with the first, given up when one fails."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._folder, self._warn = folder, warn
        self._writer: Any = None
        self._given_up = False

    def close(self) -> None:
        """Write what is waiting."""
        if self._writer is not None:
            self._write("close")

    def _write(self, what: str, *given: Any, **options: Any) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._given_up:
            return
        try:
            self._writer = self._writer or SummaryWriter(str(self._folder))
            getattr(self._writer, what)(*given, **options)
        except OSError as error:
            self._given_up = True
            self._warn(f"TensorBoard gets nothing more of the analyses: {error}")

    add_scalar = partialmethod(_write, "add_scalar")  # these are as SummaryWriter's
    add_text = partialmethod(_write, "add_text")
    add_image = partialmethod(_write, "add_image")


@contextmanager
def failing_quietly() -> Iterator[None]:
    """Inside, a thread of TensorBoard that fails prints no traceback.

    It gives its error to whoever writes next, where it becomes a sentence.
    """
    tell = threading.excepthook

    def tell_of_others(failed: threading.ExceptHookArgs) -> None:
        if not type(failed.thread).__module__.startswith("tensorboard."):
            tell(failed)

    threading.excepthook = tell_of_others
    try:
        yield
    finally:
        threading.excepthook = tell
