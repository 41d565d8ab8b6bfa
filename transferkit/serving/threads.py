"""Threads beside an event loop whose work may be given up: a decoder that hangs must not hold the server.

They are daemons, so a thread that never comes back does not keep a stopped process alive either.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class NotStarted(Exception):
    """Time ran out before a thread was free."""


class TimedOut(Exception):
    """Time ran out while a thread worked; it goes on until it is done, and another took its place."""


class _Job:
    def __init__(self, call: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.state = "waiting"  # -> running -> (lost ->) done; or -> dropped
        self.replaced = False

    def settle(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Threads:
    """`size` threads that work on what `run` gives them, first come, first served."""

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self.name = name
        self.lost = 0
        """Threads that are still at work on something nobody waits for any more."""
        self._most_lost = 4 * size
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(size):
            self._start()

    async def run(self, call: Callable[[], T], timeout: float | None = None) -> T:
        """The call's result, or its exception. Raises NotStarted or TimedOut after `timeout` seconds."""
        job = _Job(call, asyncio.get_running_loop())
        self._jobs.put(job)
        try:
            async with asyncio.timeout(timeout):
                return await job.future  # type: ignore[no-any-return]
        except TimeoutError:
            if job.future.done() and not job.future.cancelled():
                raise  # the call's own
            raise (TimedOut if self._give_up(job) else NotStarted) from None
        except asyncio.CancelledError:
            self._give_up(job)
            raise

    def stop(self) -> None:
        """Threads that are free end; the others end after what they do."""
        for _ in range(self.size):
            self._jobs.put(None)

    def _start(self) -> None:
        threading.Thread(target=self._work, name=self.name, daemon=True).start()

    def _give_up(self, job: _Job) -> bool:
        """Whether a thread was at work on it. That thread is replaced, unless too many were."""
        with self._lock:
            if job.state == "waiting":
                job.state = "dropped"
            elif job.state == "running":
                job.state = "lost"
                self.lost += 1
                job.replaced = self.lost <= self._most_lost
                if job.replaced:
                    self._start()
            return job.state != "dropped"

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                if job.state == "dropped":
                    continue
                job.state = "running"
            result, error = None, None
            try:
                result = job.call()
            except BaseException as raised:
                error = raised
            with self._lock:
                if job.state == "lost":
                    self.lost -= 1
                job.state = "done"
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                job.loop.call_soon_threadsafe(job.settle, result, error)
            if job.replaced:
                return
            del job, result, error  # a picture must not stay in memory until the next one comes
