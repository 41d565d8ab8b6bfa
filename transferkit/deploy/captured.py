"""What a library says while it works, kept for the case that it fails instead of being shown."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any

LINES = 40


@contextmanager
def captured() -> Iterator[io.StringIO]:
    """Everything that is printed, logged to the terminal or warned of inside goes into a text instead.

    For one thread: what other threads print meanwhile is caught as well.
    """
    log = io.StringIO()

    def keep(message: Any, category: type[Warning], filename: str, lineno: int, *more: Any, **options: Any) -> None:
        log.write(f"{filename}:{lineno}: {category.__name__}: {message}\n")

    terminal = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    with warnings.catch_warnings(), redirect_stdout(log), redirect_stderr(log):
        warnings.simplefilter("default")
        warnings.showwarning = keep
        moved = [(handler, handler.stream) for handler in _handlers() if handler.stream in terminal]
        for handler, _ in moved:
            handler.setStream(log)
        try:
            yield log
        finally:
            for handler, stream in moved:
                handler.setStream(stream)
            for handler in _handlers():
                if handler.stream is log:  # made inside
                    handler.setStream(terminal[1])


def _handlers() -> list[logging.StreamHandler[IO[str]]]:
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    handlers = {id(handler): handler for logger in loggers for handler in logger.handlers}
    return [
        handler
        for handler in handlers.values()
        if isinstance(handler, logging.StreamHandler) and "stream" in vars(handler)  # others look it up each time
    ]


def tail(log: io.StringIO) -> str:
    """The last lines."""
    return "\n".join(log.getvalue().rstrip().splitlines()[-LINES:])
